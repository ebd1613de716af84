package raftlog

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
)

// entryHeader is what stands before an entry's payload: its term, then its type.
const entryHeader = 9

// Write is one change of one replica's log. Writes of a replica are staged in the order in
// which the replica made them.
type Write struct {
	Shard   keys.Shard
	Replica uint64

	// Remove, when set, drops the log and leaves the tombstone that keeps the replica's id from
	// coming back. Nothing else is set then, and nothing follows.
	Remove bool
	// Announce, when set, says that the state is about to be replaced by a snapshot. It is durable
	// before the state changes: what tells an install that was interrupted from a log that has lost
	// its end.
	Announce *Announcement
	// Reset, when set, drops the whole log: the state was replaced by a snapshot at this position.
	Reset *Position
	// Truncate, when set, drops the entries up to and including this position.
	Truncate *Position
	// Entries are appended.
	Entries []*raftpb.Entry
	// Last is the highest index that earlier writes put into the log: entries from the first
	// of Entries to Last are replaced.
	Last uint64
	// Vote, when set, is recorded.
	Vote *Vote
}

// Announcement is of a snapshot at a position, for a log that begins after another.
type Announcement struct {
	Before   Position
	Snapshot Position
}

// MustSync says whether others may rely on this write: entries, a term, a vote, a
// snapshot or a tombstone.
// A truncation need not survive; it is made again.
func (w *Write) MustSync() bool {
	return len(w.Entries) > 0 || w.Vote != nil || w.Reset != nil || w.Announce != nil || w.Remove
}

// Stage adds the write to a batch.
func (w *Write) Stage(b *pebble.Batch) error {
	if w.Remove {
		return StageRemoval(b, w.Shard, w.Replica)
	}
	if w.Announce != nil {
		if err := b.Set(keys.LogTruncated(w.Shard, w.Replica), w.Announce.encode(), nil); err != nil {
			return fmt.Errorf("stage announcement: %w", err)
		}
	}
	if w.Reset != nil {
		if err := w.drop(b, ^uint64(0), *w.Reset); err != nil {
			return err
		}
	}
	if w.Truncate != nil {
		if err := w.drop(b, w.Truncate.Index+1, *w.Truncate); err != nil {
			return err
		}
	}
	if err := w.stageEntries(b); err != nil {
		return err
	}
	if w.Vote != nil {
		if err := b.Set(keys.LogState(w.Shard, w.Replica), w.Vote.encode(), nil); err != nil {
			return fmt.Errorf("stage vote: %w", err)
		}
	}
	return nil
}

// drop removes the entries below end and records the position before the first kept one.
func (w *Write) drop(b *pebble.Batch, end uint64, before Position) error {
	lo, hi := keys.LogEntry(w.Shard, w.Replica, 0), keys.LogEntry(w.Shard, w.Replica, end)
	if err := b.DeleteRange(lo, hi, nil); err != nil {
		return fmt.Errorf("stage truncation: %w", err)
	}
	if err := b.Set(keys.LogTruncated(w.Shard, w.Replica), before.encode(), nil); err != nil {
		return fmt.Errorf("stage truncation: %w", err)
	}
	return nil
}

func (w *Write) stageEntries(b *pebble.Batch) error {
	if len(w.Entries) == 0 {
		return nil
	}
	first := w.Entries[0].GetIndex()
	key := keys.LogEntry(w.Shard, w.Replica, first)
	if first <= w.Last {
		if err := b.DeleteRange(key, keys.LogEntry(w.Shard, w.Replica, w.Last+1), nil); err != nil {
			return fmt.Errorf("stage overwritten tail: %w", err)
		}
	}
	for _, e := range w.Entries {
		op := b.SetDeferred(len(key), entryHeader+len(e.Data))
		copy(op.Key, key)
		binary.BigEndian.PutUint64(op.Key[len(key)-8:], e.GetIndex())
		binary.BigEndian.PutUint64(op.Value, e.GetTerm())
		op.Value[8] = byte(e.GetType())
		copy(op.Value[entryHeader:], e.Data)
		if err := op.Finish(); err != nil {
			return fmt.Errorf("stage entry: %w", err)
		}
	}
	return nil
}

// StageNew adds the rows of a replica that is made here: its place in the store and, when
// at is above zero, a log that begins after that position.
func StageNew(b *pebble.Batch, s keys.Shard, replica uint64, at Position) error {
	if err := b.Set(keys.LocalReplica(s), Local{Replica: replica}.Encode(), nil); err != nil {
		return fmt.Errorf("stage replica: %w", err)
	}
	if at.Index == 0 {
		return nil
	}
	w := Write{Shard: s, Replica: replica, Reset: &at, Vote: &Vote{Term: at.Term, Commit: at.Index}}
	return w.Stage(b)
}

// StageRemoval drops a replica's log and leaves the tombstone that keeps its id from coming back.
func StageRemoval(b *pebble.Batch, s keys.Shard, replica uint64) error {
	lo, hi := keys.LogEntry(s, replica, 0), keys.LogEntry(s, replica, ^uint64(0))
	if err := b.DeleteRange(lo, hi, nil); err != nil {
		return fmt.Errorf("stage removal: %w", err)
	}
	for _, key := range [][]byte{keys.LogState(s, replica), keys.LogTruncated(s, replica)} {
		if err := b.Delete(key, nil); err != nil {
			return fmt.Errorf("stage removal: %w", err)
		}
	}
	if err := b.Set(keys.LocalReplica(s), Local{Replica: replica, Removed: true}.Encode(), nil); err != nil {
		return fmt.Errorf("stage tombstone: %w", err)
	}
	return nil
}
