package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// run is goroutines that lock and unlock for some time.
type run struct {
	peer   peer
	shared bool
	tasks  int
	first  int
	held   time.Duration
	name   string
	time   time.Duration
	file   string
}

// share is what one of them has done.
type share struct {
	task     int
	count    int
	sections []section
	err      error
}

type section struct {
	asked, granted, released int64
}

func (r run) run() (string, error) {
	start, started := time.Now().UnixMicro(), time.Now()
	ended := make(chan share)
	for task := r.first; task < r.first+r.tasks; task++ {
		go func() { ended <- r.work(task, started) }()
	}
	var shares []share
	for range r.tasks {
		shares = append(shares, <-ended)
	}
	var answer strings.Builder
	fmt.Fprintf(&answer, "ran %d %d", start, time.Since(started).Microseconds())
	for _, share := range shares {
		if share.err != nil {
			return "", share.err
		}
		fmt.Fprintf(&answer, " %d", share.count)
	}
	if r.shared {
		return answer.String(), r.write(shares)
	}
	return answer.String(), nil
}

func (r run) work(task int, started time.Time) share {
	done := share{task: task}
	name := r.name
	if !r.shared {
		name = fmt.Sprintf("%s:%d", r.name, task)
	}
	for time.Since(started) < r.time {
		var one section
		if r.shared {
			one.asked = time.Now().UnixMicro()
		}
		guard, err := r.peer.lock(context.Background(), name)
		if err != nil {
			done.err = err
			return done
		}
		if r.shared {
			one.granted = time.Now().UnixMicro()
		}
		if r.held > 0 {
			time.Sleep(r.held)
		}
		if r.shared {
			one.released = time.Now().UnixMicro()
			done.sections = append(done.sections, one)
		}
		guard.release()
		done.count++
	}
	return done
}

func (r run) write(shares []share) error {
	file, err := os.Create(r.file)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	for _, share := range shares {
		for _, one := range share.sections {
			fmt.Fprintf(out, "%d w %d %d %d\n", share.task, one.asked, one.granted, one.released)
		}
	}
	return out.Flush()
}
