package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
)

// ErrExists says that this store already holds a replica of the shard, or the tombstone of the
// very replica that was to be made.
var ErrExists = errors.New("store already holds this replica")

// bootstrapReplica gives the replica of a shard in a fresh cluster. Replica ids are unique over
// all shards of a cluster; the next free one after a Bootstrap of n shards is n+2.
func bootstrapReplica(s keys.Shard) uint64 { return uint64(s) + 1 }

// Bootstrap makes a fresh cluster of one node in an empty store: the meta shard and shards
// 1..shards, each with one voter, here. The replicas exist after one synced batch: a crash before
// it leaves a store in which Bootstrap starts afresh, and after it Open finds all of them.
// ErrExists when the store has replicas already.
func Bootstrap(ctx context.Context, st *store.Store, node string, shards uint32) error {
	local, err := localReplicas(st)
	if err != nil {
		return err
	}
	if len(local) > 0 {
		return ErrExists
	}
	// State first, and durable: what the log's rows promise must be there.
	state, log := st.State().NewBatch(), st.Log().NewBatch()
	defer state.Close()
	defer log.Close()
	before := raftlog.Position{Index: raftlog.FirstIndex - 1, Term: raftlog.FirstTerm}
	for s := keys.Meta; s <= keys.Shard(shards); s++ {
		replica := bootstrapReplica(s)
		row := raftlog.Applied{
			Position: before, Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{replica}}),
			Members: []raftlog.Member{{Replica: replica, Node: node}},
		}
		if err := state.Set(keys.Replica(s), row.Encode(), nil); err != nil {
			return fmt.Errorf("bootstrap shard %d: %w", s, err)
		}
		if err := raftlog.StageNew(log, s, replica, before); err != nil {
			return fmt.Errorf("bootstrap shard %d: %w", s, err)
		}
	}
	if err := state.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("bootstrap state: %w", err)
	}
	if err := st.FlushState(ctx); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if err := log.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("bootstrap log: %w", err)
	}
	return nil
}

// Bootstrapped says whether the store holds replicas, or tombstones of such.
func Bootstrapped(st *store.Store) (bool, error) {
	local, err := localReplicas(st)
	return len(local) > 0, err
}

// localReplica is a row keys.LocalReplica.
type localReplica struct {
	shard keys.Shard
	raftlog.Local
}

func localReplicas(st *store.Store) (found []localReplica, err error) {
	prefix := keys.LocalReplicas()
	it, err := st.Log().NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keys.End(prefix)})
	if err != nil {
		return nil, fmt.Errorf("read local replicas: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		row, err := raftlog.DecodeLocal(it.Value())
		if err != nil {
			return nil, err
		}
		if len(it.Key()) != len(prefix)+4 {
			return nil, fmt.Errorf("local replica key %x: %w", it.Key(), raftlog.ErrDamaged)
		}
		found = append(found, localReplica{keys.Shard(binary.BigEndian.Uint32(it.Key()[len(prefix):])), row})
	}
	return found, it.Error()
}

// openGroup opens one replica from its disk.
func openGroup(st *store.Store, o *Options, s keys.Shard, replica uint64) (*group, error) {
	var applied raftlog.Applied
	row, ok, err := st.Reader().Get(keys.Replica(s))
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w", s, err)
	}
	if ok {
		if applied, err = raftlog.DecodeApplied(row); err != nil {
			return nil, fmt.Errorf("open shard %d: %w", s, err)
		}
	}
	log, err := raftlog.Open(st.Log(), s, replica, applied, o.TailBytes)
	if err != nil {
		return nil, err
	}
	hard, _, err := log.InitialState()
	if err != nil {
		return nil, err
	}
	node, err := raft.NewRawNode(&raft.Config{
		ID: replica, Storage: log, Applied: applied.Index, AsyncStorageWrites: true,
		ElectionTick: o.ElectionTicks, HeartbeatTick: o.HeartbeatTicks,
		MaxSizePerMsg: uint64(o.MessageBytes), MaxCommittedSizePerReady: uint64(4 * o.MessageBytes),
		MaxInflightMsgs: o.InflightMessages, MaxInflightBytes: uint64(o.burstBytes()), MaxUncommittedEntriesSize: 2 * uint64(o.ShardBytesMax),
		PreVote: true, CheckQuorum: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		ReadOnlyOption: raft.ReadOnlySafe, Logger: raftLogger{o.Logger, s, o.Logger.Enabled(context.Background(), slog.LevelDebug)},
	})
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w", s, err)
	}
	last, _ := log.LastIndex()
	g := &group{
		shard: s, replica: replica, raft: node, log: log, heard: map[uint64]string{}, setbacks: map[uint64]setback{},
		term: hard.GetTerm(), members: applied.Members,
		vote:   raftlog.Vote{Term: hard.GetTerm(), For: hard.GetVote(), Commit: hard.GetCommit()},
		handed: last, told: Lead{Shard: s}, askIn: o.ElectionTicks,
	}
	g.configure(raftpb.EnsureConfState(applied.Conf), applied.Index)
	return g, nil
}
