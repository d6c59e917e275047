package main

import (
	"context"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// redsyncPeer is Redlock on one server: a string with a time to live that nobody renews here.
type redsyncPeer struct {
	redsync *redsync.Redsync
}

type redsyncGuard struct {
	mutex *redsync.Mutex
}

func newRedsync(address string) peer {
	client := redis.NewClient(&redis.Options{Addr: address})
	return redsyncPeer{redsync.New(goredis.NewPool(client))}
}

func (p redsyncPeer) lock(ctx context.Context, name string) (guard, error) {
	// The delay between tries is the default, 50 to 250 ms; the default of 32 tries would have waiters fail.
	mutex := p.redsync.NewMutex(name, redsync.WithTries(math.MaxInt), redsync.WithExpiry(time.Minute))
	return redsyncGuard{mutex}, mutex.LockContext(ctx)
}

func (g redsyncGuard) release() bool {
	released, err := g.mutex.Unlock()
	return released && err == nil
}
