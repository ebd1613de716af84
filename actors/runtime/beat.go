package runtime

import (
	"context"

	"parley/actors/fanout"
	"parley/internal/cadence"
)

// beat lets the idle feeds of this node speak, and looks for silence in those to it.
func (r *Runtime) beat(ctx context.Context) {
	ticker := cadence.NewTicker(fanout.BeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.fanout.Beat()
		r.inbound.Tick()
	}
}
