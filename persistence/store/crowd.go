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

// crowdEvery is how often a write looks again whether `state` has made way.
const crowdEvery = 10 * time.Millisecond

// crowd watches how near `state` is to keeping its writes waiting. On a full disk that could be for ever: Pebble cannot
// be told to give up, and whoever waits in it holds a lock that flushes need as well. So who writes waits here
// instead, where the end of a context and of the store's patience reach it.
type crowd struct {
	// Fixed at Open.
	bytesMax  uint64 // of memtables
	lookAfter int    // bytes written between two looks while there is little: less than a memtable

	mu     sync.Mutex // guards what follows; held over each write, so that what was seen is still true then
	unseen int        // bytes written since the last look
	calm   bool       // the last look saw that one memtable and a few layers more would do no harm
}

func newCrowd(o Options) *crowd {
	return &crowd{bytesMax: memTablesMax * o.StateMemTableBytes, lookAfter: int(o.StateMemTableBytes / memTablesMax)}
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
	done, err := s.tryState(bytes, write)
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
		done, err = s.tryState(bytes, write)
	}
	return err
}

// tryState carries out a write, unless Pebble would keep it waiting.
func (s *Store) tryState(bytes int, write func() error) (done bool, err error) {
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	if s.crowded(bytes) {
		return false, nil
	}
	return true, write()
}

// crowded says whether `state` would keep a write of so many bytes waiting. To look costs more than a small write, so
// it is done at each one only while the next memtable may be one too many, or the disk is full. The lock is held.
func (s *Store) crowded(bytes int) bool {
	c := s.crowd
	c.unseen += bytes
	if c.calm && c.unseen < c.lookAfter && !s.room.full() {
		return false
	}
	m := s.state.db.Metrics()
	size, layers := m.MemTable.Size, m.Levels[0].Sublevels
	c.unseen, c.calm = 0, size < c.bytesMax-c.bytesMax/memTablesMax && layers < level0Max-memTablesMax
	return size >= c.bytesMax || layers >= level0Max-1 // a flush may add one meanwhile
}
