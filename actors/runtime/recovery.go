package runtime

import (
	"context"
	"slices"

	"parley/cluster/recovery"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// gaveUp says whether an unsafe recovery that this start began with gave up a store. The members' rows say
// so, too, but not before it is complete.
func (r *Runtime) gaveUp(uuid string) bool {
	return r.marker != nil && slices.ContainsFunc(r.marker.Dead, func(d recovery.DeadStore) bool { return d.UUID == uuid })
}

// openRecovery looks whether an unsafe recovery of this store is to be completed.
func (r *Runtime) openRecovery(context.Context) (err error) {
	if r.marker, err = recovery.ReadMarker(r.store); err != nil {
		return err
	}
	r.recovering.Store(r.marker != nil)
	return nil
}

// completeRecovery has the members and the shard map follow an unsafe recovery of this store, before this
// node drives. It repeats that until it is done; a second time changes nothing.
func (r *Runtime) completeRecovery(ctx context.Context) {
	if r.marker == nil {
		return
	}
	c := &nodev1.RecoverPlacement{Id: r.marker.ID}
	for _, d := range r.marker.Dead {
		c.Dead, c.DeadNodes = append(c.Dead, d.UUID), append(c.DeadNodes, d.Node)
	}
	for _, s := range r.marker.Shards {
		c.Shards = append(c.Shards, &eventv1.ShardMap{Shard: uint32(s.Shard), Replicas: []*eventv1.PlacedReplica{{
			Id: s.Replica, Node: r.options.NodeName, Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER,
		}}})
	}
	done := repeat(ctx, func() bool {
		err := r.ask(ctx, nodev1.Kind_KIND_PLACEMENT, &nodev1.Command{Body: &nodev1.Command_RecoverPlacement{RecoverPlacement: c}})
		if err == nil {
			err = r.fresh(ctx) // what the driver here sees must not be of before
		}
		if err == nil {
			err = recovery.ClearMarker(r.store)
		}
		if err != nil && ctx.Err() == nil {
			r.options.Logger.Warn("the unsafe recovery is not complete yet", "error", err)
		}
		return err == nil
	})
	if !done {
		return
	}
	r.recovering.Store(false)
	r.options.Logger.Warn("the unsafe recovery is complete", "shards", len(c.Shards), "dead stores", len(c.Dead))
}
