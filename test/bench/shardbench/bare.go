package main

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// bare is the limit: no replication, no log beside Pebble's own, one writer.
type bare struct {
	store   *store.Store
	metrics *prometheus.Registry
	queue   chan item // as many as there are proposers, each of which waits
	writer  errgroup.Group
}

type item struct {
	write *shard.Write
	done  func(error)
}

func openBare(dir string, proposers int) (contestant, error) {
	c := &bare{metrics: prometheus.NewRegistry(), queue: make(chan item, proposers)}
	o := store.DefaultOptions()
	o.Metrics = c.metrics
	var err error
	if c.store, err = store.Open(dir, o); err != nil {
		return nil, err
	}
	c.writer.Go(c.run)
	return c, nil
}

// commit implements contestant.
func (c *bare) commit(w *shard.Write, _ keys.Shard, done func(error)) { c.queue <- item{w, done} }

// syncs implements contestant.
func (c *bare) syncs() (uint64, error) { return syncsOf(c.metrics) }

// close implements contestant.
func (c *bare) close() error {
	close(c.queue)
	return errors.Join(c.writer.Wait(), c.store.Close())
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
	b := c.store.Log().NewBatch()
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
