package main

import (
	"context"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

// rueidisPeer is a string with a time to live that is renewed; waiters are woken by client-side caching.
type rueidisPeer struct {
	locker rueidislock.Locker
}

type rueidisGuard struct {
	held   context.Context
	cancel context.CancelFunc
}

func newRueidislock(address string, watchdog time.Duration) (peer, error) {
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption:   rueidis.ClientOption{InitAddress: []string{address}},
		KeyMajority:    1,
		NoLoopTracking: true,
		KeyValidity:    watchdog,
		ExtendInterval: watchdog / 3,
	})
	return rueidisPeer{locker}, err
}

func (p rueidisPeer) lock(ctx context.Context, name string) (guard, error) {
	held, cancel, err := p.locker.WithContext(ctx, name)
	return rueidisGuard{held, cancel}, err
}

func (g rueidisGuard) release() bool {
	held := g.held.Err() == nil
	g.cancel()
	return held
}
