package shard

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
)

// newReplica makes the rows of an empty replica and opens it.
func (e *engine) newReplica(s keys.Shard, id ReplicaID) (*group, error) {
	if e.full.Load() {
		return nil, fmt.Errorf("add replica %d of shard %d: %w", id, s, ErrNoSpace)
	}
	local, err := localReplicas(e.st)
	if err != nil {
		return nil, err
	}
	for _, l := range local {
		if l.shard == s && (!l.Removed || l.Replica >= uint64(id)) {
			return nil, fmt.Errorf("add replica %d of shard %d: %w", id, s, ErrExists)
		}
	}
	if _, left, err := e.st.Reader().Get(keys.Replica(s)); err != nil || left {
		return nil, errors.Join(fmt.Errorf("add replica %d of shard %d, whose last one is still being dropped: %w", id, s, ErrExists), err)
	}
	b := e.st.Log().NewBatch()
	defer b.Close()
	if err := raftlog.StageNew(b, s, uint64(id), raftlog.Position{}); err != nil {
		return nil, err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return nil, fmt.Errorf("add replica %d of shard %d: %w", id, s, err)
	}
	g, err := openGroup(e.st, &e.o, s, uint64(id))
	if err != nil {
		return nil, err
	}
	e.setLead(Lead{Shard: s})
	return g, nil
}

// openTombstone keeps a removed replica's id away, and has dropped what a crash left of its state.
func (e *engine) openTombstone(l localReplica) error {
	_, left, err := e.st.Reader().Get(keys.Replica(l.shard))
	if err != nil {
		return fmt.Errorf("open tombstone in shard %d: %w", l.shard, err)
	}
	e.core.tombs[l.shard] = l.Replica
	if left {
		e.core.leftovers = append(e.core.leftovers, l.shard)
	}
	return nil
}
