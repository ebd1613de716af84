package shard

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
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
