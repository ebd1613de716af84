package store

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// SnapshotReader reads `state` as it was at one moment.
type SnapshotReader interface {
	Reader

	// Close lets go of what the moment pins: files and memtables. The store cannot be closed
	// before. Closing twice is harmless.
	Close() error
}

// Reader reads `state` as it is at each call. After Close it gives ErrClosed.
func (s *Store) Reader() Reader { return live{s} }

type live struct{ store *Store }

// Get implements Reader.
func (l live) Get(key []byte) ([]byte, bool, error) {
	if err := l.store.gate.enter(); err != nil {
		return nil, false, err
	}
	defer l.store.gate.leave()
	return l.store.get(l.store.state, key)
}

// Scan implements Reader; all of one Scan sees one moment.
func (l live) Scan(lo, hi []byte, reverse bool, visit func(key, value []byte) (bool, error)) error {
	if err := l.store.gate.enter(); err != nil {
		return err
	}
	defer l.store.gate.leave()
	it, err := l.store.state.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return l.store.note(l.store.state, err)
	}
	return l.store.scan(it, reverse, visit)
}

// Snapshot fixes this moment. It is an iterator held open, not a Pebble snapshot: installing a
// shard's snapshot excises the span, and an excise takes the keys away from Pebble's snapshots
// too. Somebody who was sending the shard would silently send nothing.
func (s *Store) Snapshot() (SnapshotReader, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	root, err := s.state.db.NewIter(nil)
	if err != nil {
		s.gate.leave()
		return nil, s.note(s.state, err)
	}
	return &moment{store: s, root: root}, nil
}

type moment struct {
	store  *Store
	root   *pebble.Iterator // never positioned: only cloned
	closed atomic.Bool
}

// Get implements Reader.
func (m *moment) Get(key []byte) ([]byte, bool, error) {
	if m.closed.Load() {
		return nil, false, ErrClosed
	}
	it, err := m.root.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{
		LowerBound: key, UpperBound: append(bytes.Clone(key), 0),
	}})
	if err != nil {
		return nil, false, m.store.note(m.store.state, err)
	}
	value, ok, err := getAt(it, key)
	return value, ok, m.store.note(m.store.state, err)
}

// Scan implements Reader.
func (m *moment) Scan(lo, hi []byte, reverse bool, visit func(key, value []byte) (bool, error)) error {
	if m.closed.Load() {
		return ErrClosed
	}
	it, err := m.root.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{LowerBound: lo, UpperBound: hi}})
	if err != nil {
		return m.store.note(m.store.state, err)
	}
	return m.store.scan(it, reverse, visit)
}

// Close implements SnapshotReader. It must not run while a Get or Scan does.
func (m *moment) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	defer m.store.gate.leave()
	return m.store.note(m.store.state, m.root.Close())
}

// get reads one key of one Pebble; the caller is inside the gate.
func (s *Store) get(h *half, key []byte) ([]byte, bool, error) {
	value, closer, err := h.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.note(h, err)
	}
	value = append([]byte{}, value...)
	return value, true, s.note(h, closer.Close())
}

// getAt reads the key that the bounds of it enclose, and closes it.
func getAt(it *pebble.Iterator, key []byte) (value []byte, ok bool, err error) {
	if it.SeekPrefixGE(key) { // the prefix is the whole key: tables without it are filtered out
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, false, errors.Join(err, it.Close())
		}
		value, ok = append([]byte{}, v...), true
	}
	if err := it.Close(); err != nil { // gives the error of the read, if there was one
		return nil, false, err
	}
	return value, ok, nil
}

// scan visits what it covers, and closes it. An error of visit is passed on as it is.
func (s *Store) scan(it *pebble.Iterator, reverse bool, visit func(key, value []byte) (bool, error)) error {
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	var stopped error
	for ok := first(); ok && stopped == nil; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return s.note(s.state, errors.Join(err, it.Close()))
		}
		more, err := visit(it.Key(), value)
		if stopped = err; !more {
			break
		}
	}
	closed := s.note(s.state, it.Close()) // gives the error of the reads, if there was one
	if stopped != nil {
		return stopped
	}
	return closed
}
