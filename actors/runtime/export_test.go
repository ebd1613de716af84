package runtime

import "parley/actors/api"

// StoppedAPI makes a second API over a node whose calls pass through wrap.
func StoppedAPI(r *Runtime, wrap func(api.Caller) api.Caller) (*api.API, error) {
	o := r.options.API
	o.Caller, o.Acks, o.Meta, o.Interest = wrap(r.system.Caller()), r.outbox, r.host.Reader(), r.interest
	o.Metrics = nil // the node's own API counts
	return api.New(o)
}
