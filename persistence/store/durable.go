package store

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
)

// DurableApplied is a shard's replica row as a crash at this moment would leave it: read from
// flushed tables only. The log may be truncated up to its applied index and not further. ok is
// false when no row of the shard has been flushed.
func (s *Store) DurableApplied(shard keys.Shard) (row []byte, ok bool, err error) {
	if err := s.gate.enter(); err != nil {
		return nil, false, err
	}
	defer s.gate.leave()
	key := keys.Replica(shard)
	it, err := s.state.db.NewIter(&pebble.IterOptions{
		LowerBound: key, UpperBound: append(keys.Replica(shard), 0), OnlyReadGuaranteedDurable: true,
	})
	if err != nil {
		return nil, false, s.note(s.state, err)
	}
	row, ok, err = getAt(it, key)
	return row, ok, s.note(s.state, err)
}

// FlushState makes all that was applied before the call durable. An error of ctx means that the
// flush goes on without the caller. A disk that is full keeps it waiting, and after Hurry gives ErrNoSpace.
func (s *Store) FlushState(ctx context.Context) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if err := s.Damage(); err != nil {
		return err
	}
	var flushed <-chan struct{}
	err := s.enterState(ctx, s.crowd.lookAfter, func() (err error) {
		flushed, err = s.state.db.AsyncFlush()
		return s.note(s.state, err)
	})
	if err != nil {
		return fmt.Errorf("flush state: %w", err)
	}
	select {
	case <-flushed:
		return nil
	case <-s.room.denied:
		return fmt.Errorf("flush state: %w", ErrNoSpace)
	case <-ctx.Done():
		return fmt.Errorf("flush state: %w", context.Cause(ctx))
	}
}

// StateMemTableBytes is the memory allocated for the memtables of `state`: an upper bound of what
// a crash would have to replay. It grows in doubling steps up to Options.StateMemTableBytes for
// each memtable, and is meant for looking now and then, not for every write. 0 after Close.
func (s *Store) StateMemTableBytes() uint64 {
	if s.gate.enter() != nil {
		return 0
	}
	defer s.gate.leave()
	return s.state.db.Metrics().MemTable.Size
}
