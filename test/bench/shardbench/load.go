package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/test/bench/meter"
)

// load is what both contestants do.
type load struct {
	shards    int
	proposers int
	duration  time.Duration
	body      []byte
}

// result is what one run gave.
type result struct {
	perSecond float64
	cpu       time.Duration // per event
	perSync   float64       // events
	p50, p99  time.Duration
}

// drive lets every proposer write its own conversation, one event after the other.
func (l load) drive(c contestant) (result, error) {
	syncs, err := c.syncs()
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.duration)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	latencies := make([][]time.Duration, l.proposers)
	began, cpu := time.Now(), meter.Self()
	for p := range l.proposers {
		wg.Go(func() {
			took, err := l.propose(ctx, c, p)
			if err != nil {
				failed.Store(&err)
			}
			latencies[p] = took
		})
	}
	wg.Wait()
	took, used := time.Since(began), meter.Self()-cpu
	if err := failed.Load(); err != nil {
		return result{}, *err
	}
	after, err := c.syncs()
	if err != nil {
		return result{}, err
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	n := len(all)
	return result{perSecond: float64(n) / took.Seconds(), cpu: used / time.Duration(max(n, 1)),
		perSync: float64(n) / float64(max(after-syncs, 1)), p50: meter.Quantile(all, 0.5), p99: meter.Quantile(all, 0.99)}, nil
}

// propose writes until ctx ends, and says how long each write took.
func (l load) propose(ctx context.Context, c contestant, proposer int) (took []time.Duration, err error) {
	done := make(chan error, 1) // one write at a time
	s := keys.Shard(1 + proposer%l.shards)
	for base := uint64(0); ctx.Err() == nil; base++ {
		w := l.event(s, proposer, base)
		sent := time.Now()
		c.commit(&w, s, func(err error) { done <- err })
		if err := <-done; err != nil {
			return took, fmt.Errorf("event %d of proposer %d: %w", base, proposer, err)
		}
		took = append(took, time.Since(sent))
	}
	return took, nil
}

// event is the write of one small message: event, head, dedup and outbox rows.
func (l load) event(s keys.Shard, proposer int, base uint64) shard.Write {
	var conversation keys.UUID
	binary.BigEndian.PutUint64(conversation[:], uint64(proposer)*0x9e3779b97f4a7c15)
	app, sequence := keys.UUID{1}, base+1
	return shard.Write{
		Entity: keys.Head(s, app, conversation, keys.KindConversation), Base: base, Head: l.body[:48],
		Ops: []store.Op{
			store.Put(keys.Event(s, app, conversation, sequence), l.body),
			store.Put(keys.Dedup(s, app, conversation, keys.UUID{2}, fmt.Sprintf("client-%012d", sequence)), l.body[:8]),
			store.Put(keys.Outbox(s, 2, s, conversation[:], conversation[:], sequence, 0), l.body[:40]),
		},
	}
}
