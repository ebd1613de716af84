package runtime

import (
	"context"

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

// Carried is an error as another node is told it.
func Carried(err error) error {
	_, told := outcome(answer(nil, err))
	return told
}
