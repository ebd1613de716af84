package runtime

import (
	"context"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/api"
	"parley/cluster/shard"
	"parley/cluster/version"
	"parley/persistence/keys"
)

// Say has a node open a stream to another one.
func Say(r *Runtime, node string) { r.transport.Send(node, []byte("hello")) }

// Spoken is the version that a node takes the cluster to be at.
func Spoken(r *Runtime) version.Number { return r.gate.Current() }

// StoppedAPI makes a second API over a node whose calls pass through wrap.
func StoppedAPI(r *Runtime, wrap func(api.Caller) api.Caller) (*api.Service, error) {
	o := r.options.API
	o.Caller, o.Acks, o.Meta, o.Interest = wrap(r.system.Caller()), r.outbox, r.host.Reader(), r.interest
	o.Metrics = nil // the node's own API counts
	return api.New(o)
}

// Unready makes a started node look as if its start had not come to its end.
func (r *Runtime) Unready() { r.ready = make(chan struct{}) }

// Replica is a node's replica of a shard as it stands.
func Replica(ctx context.Context, r *Runtime, s keys.Shard) (shard.Status, error) {
	return r.host.Status(ctx, s)
}

// Drop drops a node's replica of a shard, and waits for the end of that.
func Drop(ctx context.Context, r *Runtime, s keys.Shard, replica shard.ReplicaID) error {
	return r.host.RemoveReplica(ctx, s, replica)
}

// Follows says whether a node shows its copy of the meta shard's public part, and not a replica's state.
func Follows(r *Runtime) bool { return !r.public.own.Load() }

// ScarceDisk is a disk in memory, and what makes it full, or gives it space again.
func ScarceDisk() (disk vfs.FS, fill func(bool)) {
	s := &scarce{MemFS: vfs.NewMem(), met: make(chan struct{}, 1)}
	return s, s.full.Store
}

// Carried is an error as another node is told it.
func Carried(err error) error {
	_, told := outcome(answer(nil, err))
	return told
}
