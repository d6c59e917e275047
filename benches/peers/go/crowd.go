package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// holdingTasks is how many take the names that are held.
const holdingTasks = 64

// crowd is many names that are held or waited for.
type crowd struct {
	peer    peer
	held    []guard
	granted atomic.Int64
	last    atomic.Int64
	waiting sync.WaitGroup
}

// inTasks acts on so many in as many goroutines as there are holding tasks.
func inTasks(count int, act func(number int)) {
	var tasks sync.WaitGroup
	for task := range holdingTasks {
		tasks.Add(1)
		go func() {
			defer tasks.Done()
			for number := task; number < count; number += holdingTasks {
				act(number)
			}
		}()
	}
	tasks.Wait()
}

func (c *crowd) hold(names int, prefix string) (string, error) {
	started := time.Now()
	held, errs := make([]guard, names), make(chan error, names)
	inTasks(names, func(number int) {
		guard, err := c.peer.lock(context.Background(), fmt.Sprintf("%s%d", prefix, number))
		if err != nil {
			errs <- err
		}
		held[number] = guard
	})
	c.held = held
	select {
	case err := <-errs:
		return "", err
	default:
		return fmt.Sprintf("held %d %d", names, time.Since(started).Microseconds()), nil
	}
}

func (c *crowd) release() string {
	start := time.Now().UnixMicro()
	var released atomic.Int64
	inTasks(len(c.held), func(number int) {
		if c.held[number].release() {
			released.Add(1)
		}
	})
	c.held = nil
	return fmt.Sprintf("released %d %d", released.Load(), start)
}

func (c *crowd) wait(names int, prefix string) string {
	for number := range names {
		c.waiting.Add(1)
		go func() {
			defer c.waiting.Done()
			// It keeps what it gets until the process ends.
			if _, err := c.peer.lock(context.Background(), fmt.Sprintf("%s%d", prefix, number)); err != nil {
				return
			}
			c.granted.Add(1)
			now := time.Now().UnixMicro()
			for before := c.last.Load(); before < now && !c.last.CompareAndSwap(before, now); {
				before = c.last.Load()
			}
		}()
	}
	return "waiting"
}

func (c *crowd) waited(within time.Duration) string {
	all := make(chan struct{})
	go func() {
		c.waiting.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(within):
	}
	return fmt.Sprintf("granted %d %d", c.granted.Load(), c.last.Load())
}
