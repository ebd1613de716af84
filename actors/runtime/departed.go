package runtime

import (
	"context"
	"time"

	"parley/cluster/shard"
)

// departedAgain is the pause before the dropping of a replica is tried again.
const departedAgain = time.Second

// departed hears of replicas here that their shards have no more. The driver has most of them
// destroyed; but it forgets those of a node that was away for too long, and when such a node comes
// back it has to let go of them by itself, or it could never have a replica of the shard again.
type departed struct {
	confirmed chan shard.Removal // capacity: one of each shard; more are heard of after the next start
}

func newDeparted() departed { return departed{make(chan shard.Removal, ShardsMax+1)} }

// Removed is for shard.Options.Removed.
func (d departed) Removed(m shard.Removal) {
	if !m.Confirmed {
		return
	}
	select {
	case d.confirmed <- m:
	default:
	}
}

// dropDeparted drops what has departed, one after the other, until ctx ends.
func (r *Runtime) dropDeparted(ctx context.Context) {
	timer := time.NewTimer(departedAgain)
	defer timer.Stop()
	for {
		var m shard.Removal
		select {
		case <-ctx.Done():
			return
		case m = <-r.departed.confirmed:
		}
		for err := r.destroyReplica(ctx, m.Shard, m.Replica); err != nil; err = r.destroyReplica(ctx, m.Shard, m.Replica) {
			r.options.Logger.Debug("a replica that left is still here", "shard", m.Shard, "replica", m.Replica, "error", err)
			timer.Reset(departedAgain)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
	}
}
