package shard

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/snapshot"
	"parley/persistence/store"
)

// newReplica makes the rows of an empty replica and opens it.
func (e *engine) newReplica(s keys.Shard, id ReplicaID) (*group, error) {
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

// finishRemoval drops what a crash has left of the state of a replica with a tombstone.
func finishRemoval(st *store.Store, s keys.Shard) error {
	_, left, err := st.Reader().Get(keys.Replica(s))
	if err != nil {
		return fmt.Errorf("finish removal from shard %d: %w", s, err)
	}
	if !left {
		return nil
	}
	if err := snapshot.Drop(context.Background(), st, s); err != nil {
		return fmt.Errorf("finish removal: %w", err)
	}
	return nil
}
