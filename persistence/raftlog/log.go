package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"parley/internal/invariant"
	"parley/persistence/keys"
)

// entryOverhead is what an entry costs in memory beside its payload, roughly: the message, its scalars,
// and its place in the tail.
const entryOverhead = 128

// Log is the raft.Storage of one replica: the recent tail in memory, everything since the last
// truncation on disk. It shows entries once they were passed to Appended, which is when they
// are durable. How long the tail may become is its owner's affair: it looks at TailBytes, and
// calls Trim. Not safe for concurrent use: the goroutine that steps the replica owns it.
type Log struct {
	// Fixed at Open.
	db      *pebble.DB
	shard   keys.Shard
	replica uint64

	vote    Vote
	applied Applied
	before  Position // the entry before the first one kept on disk
	coming  Position // of a snapshot that was announced when the log was opened

	// tail holds the entries from offset on; older ones are read from disk.
	tail      []*raftpb.Entry
	offset    uint64
	edge      uint64 // the term of the entry before the tail, 0 when it is not known
	tailBytes int
}

// Open reads a replica's log. applied is the row of the shard's state, zero when the replica
// still waits for its first snapshot. A log that does not reach the applied position belongs to
// the time before a snapshot whose install was announced and interrupted: it is reset, durably,
// before Open returns (invariant I6). Any other log that ends before the state, or before the
// commit index it is known to have reached, has lost entries and is ErrDamaged. The tail is
// trimmed to tailBytes.
func Open(db *pebble.DB, s keys.Shard, replica uint64, applied Applied, tailBytes int) (*Log, error) {
	l := &Log{db: db, shard: s, replica: replica, applied: applied}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("raft log of shard %d replica %d: %w", s, replica, err)
	}
	if err := l.reconcile(); err != nil {
		return nil, fmt.Errorf("raft log of shard %d replica %d: %w", s, replica, err)
	}
	l.vote.Commit = max(l.vote.Commit, applied.Index)
	l.vote.Term = max(l.vote.Term, applied.Term)
	l.Trim(tailBytes)
	return l, nil
}

func (l *Log) load() error {
	if v, err := get(l.db, keys.LogState(l.shard, l.replica)); err != nil {
		return err
	} else if v != nil {
		if l.vote, err = decodeVote(v); err != nil {
			return err
		}
	}
	if v, err := get(l.db, keys.LogTruncated(l.shard, l.replica)); err != nil {
		return err
	} else if v != nil {
		announced, err := decodeBefore(v)
		if err != nil {
			return err
		}
		l.before, l.coming = announced.Before, announced.Snapshot
	}
	l.offset = l.before.Index + 1
	entries, err := l.read(l.offset, ^uint64(0), ^uint64(0))
	if err != nil {
		return err
	}
	l.tail = entries
	for _, e := range entries {
		l.tailBytes += size(e)
	}
	return nil
}

// reconcile makes the log continue from the applied position.
func (l *Log) reconcile() error {
	at := l.applied.Position
	term, err := l.Term(at.Index)
	if err == nil && term == at.Term {
		if l.vote.Commit > l.last() {
			return fmt.Errorf("it ends at %d, before its commit index %d: %w", l.last(), l.vote.Commit, ErrDamaged)
		}
		return nil
	}
	if errors.Is(err, raft.ErrCompacted) {
		return fmt.Errorf("truncated to %d beyond the applied index %d: %w", l.before.Index, at.Index, ErrDamaged)
	}
	if l.coming != at {
		return fmt.Errorf("it ends at %d and does not reach the applied %+v: %w", l.last(), at, ErrDamaged)
	}
	b := l.db.NewBatch()
	defer b.Close()
	w := Write{Shard: l.shard, Replica: l.replica, Reset: &at, Vote: &Vote{
		Term: max(l.vote.Term, at.Term), For: l.vote.For, Commit: at.Index,
	}}
	if w.Vote.Term != l.vote.Term {
		w.Vote.For = 0
	}
	if err := w.Stage(b); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	l.vote = *w.Vote
	l.Reset(l.applied)
	return nil
}

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hard := &raftpb.HardState{Term: new(l.vote.Term), Vote: new(l.vote.For), Commit: new(l.vote.Commit)}
	return hard, raftpb.EnsureConfState(l.applied.Conf), nil
}

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) { return l.before.Index + 1, nil }

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.last(), nil }

func (l *Log) last() uint64 { return l.offset + uint64(len(l.tail)) - 1 }

// Term implements raft.Storage.
func (l *Log) Term(index uint64) (uint64, error) {
	switch {
	case index == l.before.Index:
		return l.before.Term, nil
	case index < l.before.Index:
		return 0, raft.ErrCompacted
	case index > l.last():
		return 0, raft.ErrUnavailable
	case index >= l.offset:
		return l.tail[index-l.offset].GetTerm(), nil
	case index == l.offset-1 && l.edge != 0:
		return l.edge, nil // what an idle group is asked for when it wakes
	}
	v, err := get(l.db, keys.LogEntry(l.shard, l.replica, index))
	if err != nil {
		return 0, err
	}
	if len(v) < entryHeader {
		return 0, fmt.Errorf("entry %d: %w", index, ErrDamaged)
	}
	return binary.BigEndian.Uint64(v), nil
}

// Entries implements raft.Storage.
func (l *Log) Entries(lo, hi, bytesMax uint64) ([]*raftpb.Entry, error) {
	if lo <= l.before.Index {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raft.ErrUnavailable
	}
	var found []*raftpb.Entry
	if lo < l.offset {
		stored, err := l.read(lo, min(hi, l.offset), bytesMax)
		if err != nil {
			return nil, err
		}
		if lo += uint64(len(stored)); lo < min(hi, l.offset) {
			return stored, nil // the size limit was met
		}
		found = stored
	}
	if lo < hi {
		found = append(found, l.tail[lo-l.offset:hi-l.offset]...)
	}
	return limit(found, bytesMax), nil
}

// Snapshot implements raft.Storage: it names the applied position. The stream that follows
// carries the position it was cut at, which may be later.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	if l.applied.Index == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return raftpb.EnsureSnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(l.applied.Index), Term: new(l.applied.Term), ConfState: l.applied.Conf,
	}}), nil
}

// Before gives the position before the first entry that is kept.
func (l *Log) Before() Position { return l.before }

// Applied gives the position and configuration that were last passed to SetApplied or Reset.
func (l *Log) Applied() Applied { return l.applied }

// SetApplied records how far the state has come.
func (l *Log) SetApplied(a Applied) { l.applied = a }

// Appended shows entries that are durable now; they replace whatever stood from the first on.
func (l *Log) Appended(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	first := entries[0].GetIndex()
	// What was forgotten is applied, and so never replaced.
	invariant.That(first >= l.offset && first <= l.last()+1,
		"append at %d to a log of %d..%d in memory", first, l.offset, l.last())
	for _, e := range l.tail[first-l.offset:] {
		l.tailBytes -= size(e)
	}
	kept := l.tail[:first-l.offset]
	clear(l.tail[len(kept):])
	l.tail = append(kept, entries...)
	for _, e := range entries {
		l.tailBytes += size(e)
	}
}

// Truncated drops what is at or below a position; the same position goes to disk as a Write.
func (l *Log) Truncated(to Position) {
	invariant.That(to.Index <= l.applied.Index, "truncation to %d above applied %d", to.Index, l.applied.Index)
	if to.Index <= l.before.Index {
		return
	}
	l.before = to
	l.forget(to.Index + 1)
}

// Reset makes the log empty after a snapshot at applied.
func (l *Log) Reset(applied Applied) {
	l.applied, l.before = applied, applied.Position
	l.tail, l.tailBytes, l.offset, l.edge = nil, 0, applied.Index+1, 0
}

// TailBytes is what the entries in memory take there, roughly.
func (l *Log) TailBytes() int { return l.tailBytes }

// Trim forgets the oldest entries until those left in memory take no more than bytes. What is not
// applied yet stays: it is about to be read.
func (l *Log) Trim(bytes int) {
	left, index := l.tailBytes, l.offset
	for index <= l.applied.Index && index <= l.last() && left > bytes {
		left -= size(l.tail[index-l.offset])
		index++
	}
	l.forget(index)
}

// forget drops the entries below index from memory.
func (l *Log) forget(index uint64) {
	if index <= l.offset {
		return
	}
	n := min(int(index-l.offset), len(l.tail))
	l.edge = 0
	for i, e := range l.tail[:n] {
		l.tailBytes -= size(e)
		if l.offset+uint64(i) == index-1 {
			l.edge = e.GetTerm()
		}
	}
	l.tail = append([]*raftpb.Entry(nil), l.tail[n:]...)
	l.offset = index
}

// read decodes the stored entries in [lo, hi), at least one if there is one, until bytesMax.
// A hole is damage.
func (l *Log) read(lo, hi, bytesMax uint64) (entries []*raftpb.Entry, err error) {
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: keys.LogEntry(l.shard, l.replica, lo), UpperBound: keys.LogEntry(l.shard, l.replica, hi),
	})
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	bytes := uint64(0)
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read entry: %w", err)
		}
		index := keys.LogIndex(it.Key())
		if index != lo+uint64(len(entries)) || len(v) < entryHeader {
			return nil, fmt.Errorf("entry %d where %d belongs: %w", index, lo+uint64(len(entries)), ErrDamaged)
		}
		e := decodeEntry(index, v)
		if bytes += uint64(len(e.Data)); bytes > bytesMax && len(entries) > 0 {
			return entries, nil
		}
		entries = append(entries, e)
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	return entries, nil
}

// slab is a decoded entry in one allocation: its scalars are pointers.
type slab struct {
	entry       raftpb.Entry
	term, index uint64
	kind        raftpb.EntryType
}

func decodeEntry(index uint64, v []byte) *raftpb.Entry {
	s := &slab{term: binary.BigEndian.Uint64(v), index: index, kind: raftpb.EntryType(v[8])}
	s.entry.Term, s.entry.Index, s.entry.Type = &s.term, &s.index, &s.kind
	if len(v) > entryHeader {
		s.entry.Data = append([]byte(nil), v[entryHeader:]...)
	}
	return &s.entry
}

func size(e *raftpb.Entry) int { return entryOverhead + cap(e.Data) }

// limit cuts entries so that their payloads stay within bytesMax, but keeps at least one.
func limit(entries []*raftpb.Entry, bytesMax uint64) []*raftpb.Entry {
	bytes := uint64(0)
	for i, e := range entries {
		if bytes += uint64(len(e.Data)); bytes > bytesMax && i > 0 {
			return entries[:i:i]
		}
	}
	return entries[:len(entries):len(entries)]
}

// get gives a copy of a value, nil when the key is absent.
func get(db *pebble.DB, key []byte) ([]byte, error) {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read raft log: %w", err)
	}
	return append([]byte{}, v...), closer.Close()
}
