package main

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// shards is the real thing: one voter per shard.
type shards struct {
	host   *shard.Host
	epochs []shard.Epoch
}

// started collects the epochs in which the shards become ready.
type started struct {
	mu     sync.Mutex
	epochs map[keys.Shard]shard.Epoch
	wake   chan struct{}
}

// LeadChanged implements shard.Observer.
func (s *started) LeadChanged(l shard.Lead) {
	if !l.Ready {
		return
	}
	s.mu.Lock()
	s.epochs[l.Shard] = l.Epoch
	s.mu.Unlock()
	s.wake <- struct{}{}
}

func openShards(l load, st *store.Store) (contestant, error) {
	if err := shard.Bootstrap(context.Background(), st, "n1", uint32(l.shards)); err != nil {
		return nil, err
	}
	ready := &started{epochs: map[keys.Shard]shard.Epoch{}, wake: make(chan struct{}, l.shards+1)}
	o := shard.DefaultOptions()
	o.Node = "n1"
	host, err := shard.Open(st, transport.NewMemory().Endpoint("n1"), ready, o)
	if err != nil {
		return nil, err
	}
	for range l.shards + 1 {
		<-ready.wake
	}
	c := &shards{host: host, epochs: make([]shard.Epoch, l.shards+1)}
	for s, epoch := range ready.epochs {
		c.epochs[s] = epoch
	}
	return c, nil
}

func (c *shards) commit(w *shard.Write, s keys.Shard, done func(error)) {
	c.host.Propose(shard.Proposal{Shard: s, Epoch: c.epochs[s], Write: *w, Done: done})
}

func (c *shards) close() error { return c.host.Close() }

// bare is the limit: no replication, no log beside Pebble's own, one writer.
type bare struct {
	db     *pebble.DB
	queue  chan item // as many as there are proposers, each of which waits
	writer errgroup.Group
}

type item struct {
	write *shard.Write
	done  func(error)
}

func openBare(l load, st *store.Store) (contestant, error) {
	c := &bare{db: st.Log(), queue: make(chan item, l.proposers)}
	c.writer.Go(c.run)
	return c, nil
}

func (c *bare) commit(w *shard.Write, _ keys.Shard, done func(error)) { c.queue <- item{w, done} }

func (c *bare) close() error {
	close(c.queue)
	return c.writer.Wait()
}

// run merges all that waits into one batch.
func (c *bare) run() error {
	var items []item
	for first := range c.queue {
		items = append(items[:0], first)
		for more := true; more; {
			select {
			case it, ok := <-c.queue:
				if more = ok; ok {
					items = append(items, it)
				}
			default:
				more = false
			}
		}
		err := c.write(items)
		for _, it := range items {
			it.done(err)
		}
	}
	return nil
}

func (c *bare) write(items []item) error {
	b := c.db.NewBatch()
	defer b.Close()
	var row []byte
	for _, it := range items {
		w := it.write
		row = append(binary.BigEndian.AppendUint64(row[:0], w.Base+1), w.Head...)
		if err := b.Set(w.Entity, row, nil); err != nil {
			return err
		}
		for _, op := range w.Ops {
			if err := store.Apply(b, op); err != nil {
				return err
			}
		}
	}
	return b.Commit(pebble.Sync)
}
