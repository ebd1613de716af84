package runtime

import (
	"fmt"

	"parley/actors/outbox"
	"parley/actors/push"
)

// openPush makes the sink that tells devices; nil for a node that reaches no provider, where the
// rows for devices wait for another leader.
func (r *Runtime) openPush() (outbox.Sink, error) {
	o := r.options.Push
	if len(o.Senders) == 0 {
		return nil, nil
	}
	o.Caller, o.Application, o.Fresh, o.Live = r.system.Caller(), r.tenants.Get, r.fresh, r.live
	o.Logger, o.Metrics = r.options.Logger, r.options.Metrics
	sink, err := push.Open(r.ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open push: %w", err)
	}
	r.opened(sink.Close)
	return sink, nil
}
