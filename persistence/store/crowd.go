package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// How much a Pebble has waiting before it keeps writes waiting: memtables that are not flushed, and layers of
// young tables that are not compacted.
const (
	memTablesMax = 4
	level0Max    = 24
)

const (
	// crowdEvery is how often a write looks again whether `state` has made way.
	crowdEvery = 10 * time.Millisecond
	// lookWithin is how long a look may take before Hurry ends it: far longer than one behind which no manifest waits.
	lookWithin = time.Second
)

// crowd watches how near `state` is to keeping its writes waiting. On a full disk that could be for ever: Pebble cannot
// be told to give up, and whoever waits in it holds a lock that flushes need as well. So who writes waits here
// instead, where the end of a context and of the store's patience reach it.
type crowd struct {
	// Fixed at Open.
	bytesMax  uint64 // of memtables
	lookAfter int    // bytes written between two looks while there is little: less than a memtable

	looks sync.WaitGroup // Close waits for one that is still on its way

	turn   chan struct{}        // capacity 1: guards what follows; held over each write, so that what was seen is still true then
	unseen int                  // bytes written since the last look
	calm   bool                 // the last look saw that one memtable and a few layers more would do no harm
	late   chan *pebble.Metrics // of a look that was not waited for to its end; nil = there is none
}

func newCrowd(o Options) *crowd {
	return &crowd{bytesMax: memTablesMax * o.StateMemTableBytes, lookAfter: int(o.StateMemTableBytes / memTablesMax),
		turn: make(chan struct{}, 1)}
}

// CommitState writes a batch to `state`, unsynced. While there is so much that the disk has no space to take, it
// waits, until ctx ends; after Hurry it gives ErrNoSpace then. After both nothing was written.
func (s *Store) CommitState(ctx context.Context, b *pebble.Batch) error {
	err := s.enterState(ctx, b.Len(), func() error { return s.note(s.state, b.Commit(pebble.NoSync)) })
	if err != nil {
		return fmt.Errorf("write to state: %w", err)
	}
	return nil
}

// enterState carries out a write of so many bytes as soon as Pebble will not keep it waiting.
func (s *Store) enterState(ctx context.Context, bytes int, write func() error) error {
	done, err := s.tryState(ctx, bytes, write)
	if done {
		return err
	}
	ticker := time.NewTicker(crowdEvery)
	defer ticker.Stop()
	for !done {
		select {
		case <-ticker.C:
		case <-s.room.denied:
			return ErrNoSpace
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		done, err = s.tryState(ctx, bytes, write)
	}
	return err
}

// tryState carries out a write, unless Pebble would keep it waiting. It is done when nothing more is to be tried.
func (s *Store) tryState(ctx context.Context, bytes int, write func() error) (done bool, err error) {
	if err := s.takeTurn(ctx); err != nil {
		return true, err
	}
	defer func() { <-s.crowd.turn }()
	crowded, err := s.crowded(ctx, bytes)
	if crowded || err != nil {
		return err != nil, err
	}
	return true, write()
}

// takeTurn waits for the turn; one that is free is taken whatever else has ended.
func (s *Store) takeTurn(ctx context.Context) error {
	select {
	case s.crowd.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.crowd.turn <- struct{}{}:
		return nil
	case <-s.room.denied:
		return ErrNoSpace
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// crowded says whether `state` would keep a write of so many bytes waiting. To look costs more than a small write, so
// it is done at each one only while the next memtable may be one too many, or the disk is full. The turn is held.
func (s *Store) crowded(ctx context.Context, bytes int) (bool, error) {
	c := s.crowd
	c.unseen += bytes
	if c.calm && c.unseen < c.lookAfter && !s.room.full() {
		return false, nil
	}
	m, err := s.look(ctx)
	if err != nil {
		return false, err
	}
	size, layers := m.MemTable.Size, m.Levels[0].Sublevels
	c.unseen, c.calm = 0, size < c.bytesMax-c.bytesMax/memTablesMax && layers < level0Max-memTablesMax
	return size >= c.bytesMax || layers >= level0Max-1, nil // a flush may add one meanwhile
}

// look asks Pebble how it fares. While a manifest waits for space Pebble does not answer, so this wait can be ended.
// The question stays then, and what is answered to it is of the past: the next look waits for it and asks again. The
// turn is held.
func (s *Store) look(ctx context.Context) (*pebble.Metrics, error) {
	c := s.crowd
	for {
		found, late := c.late, c.late != nil
		if !late {
			found = make(chan *pebble.Metrics, 1)
			c.looks.Go(func() { found <- s.state.db.Metrics() })
		}
		m, err := s.answer(ctx, found)
		switch {
		case err != nil:
			c.late = found
			return nil, err
		case !late:
			return m, nil
		}
		c.late = nil
	}
}

// answer waits for what a look finds.
func (s *Store) answer(ctx context.Context, found <-chan *pebble.Metrics) (*pebble.Metrics, error) {
	soon := time.NewTimer(lookWithin)
	defer soon.Stop()
	select {
	case m := <-found:
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-soon.C:
	}
	select {
	case m := <-found:
		return m, nil
	case <-s.room.denied:
		return nil, ErrNoSpace
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
