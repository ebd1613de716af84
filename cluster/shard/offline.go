package shard

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// ConfChange gives the change of configuration that a log entry makes, nil for any other entry. It is for
// who reads a log without a Host.
func ConfChange(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	if e.GetType() == raftpb.EntryNormal {
		return nil, nil
	}
	change, err := decodeConf(e)
	if err != nil {
		return nil, fmt.Errorf("change of configuration at %d: %w", e.GetIndex(), err)
	}
	return change, nil
}
