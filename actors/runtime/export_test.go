package runtime

import (
	"parley/actors/api"
	"parley/cluster/version"
)

// Say has a node open a stream to another one.
func Say(r *Runtime, node string) { r.transport.Send(node, []byte("hello")) }

// Spoken is the version that a node takes the cluster to be at.
func Spoken(r *Runtime) version.Number { return r.gate.Current() }

// StoppedAPI makes a second API over a node whose calls pass through wrap.
func StoppedAPI(r *Runtime, wrap func(api.Caller) api.Caller) (*api.API, error) {
	o := r.options.API
	o.Caller, o.Acks, o.Meta, o.Interest = wrap(r.system.Caller()), r.outbox, r.host.Reader(), r.interest
	o.Metrics = nil // the node's own API counts
	return api.New(o)
}

// Unready makes a started node look as if its start had not come to its end.
func (r *Runtime) Unready() { r.ready = make(chan struct{}) }
