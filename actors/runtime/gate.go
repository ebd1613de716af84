package runtime

import (
	"context"
	"time"

	"parley/actors/placement"
	"parley/cluster/recovery"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// current refuses the orders of a driver that has a successor: what it saw may be of the past. 0 is an
// operator, who says what is wanted now.
func (r *Runtime) current(driver uint64) error {
	if driver == 0 {
		return nil
	}
	if latest := max(r.orders.Load(), uint64(r.directory.Get(keys.Meta).Epoch)); driver < latest {
		return code.New(code.Unavailable, "the order is of the driver of epoch %d, which has a successor of epoch %d", driver, latest)
	}
	for {
		latest := r.orders.Load()
		if driver < latest {
			return code.New(code.Unavailable, "the order is of the driver of epoch %d, which has a successor of epoch %d", driver, latest)
		}
		if r.orders.CompareAndSwap(latest, driver) {
			return nil
		}
	}
}

// followVersion takes note of the version that the cluster has reached.
func (r *Runtime) followVersion() {
	row, err := placement.Row(r.public)
	if err != nil {
		r.options.Logger.Error("the version of the cluster could not be read", "error", err)
		return
	}
	if row.NextReplica != 0 {
		r.gate.Raise(placement.VersionOf(row))
	}
}

// admit decides on a node that opens a stream to this one's replicas.
func (r *Runtime) admit(i transport.Identity) error {
	if why := i.Versions.Refuses(r.gate.Current()); why != "" {
		return code.New(code.Permission, "%s", why)
	}
	stores, err := placement.Stores(r.public)
	if err != nil {
		return err
	}
	for _, s := range stores {
		if s.Uuid == i.Store && s.State == eventv1.StoreState_STORE_STATE_REMOVED {
			return transport.ErrRemoved
		}
	}
	if r.recovering.Load() {
		return r.admitRecovering(i)
	}
	return nil
}

// admitRecovering keeps the stores away that an unsafe recovery gave up, until the members say so.
func (r *Runtime) admitRecovering(i transport.Identity) error {
	for _, dead := range r.marker.Dead {
		if dead.UUID == i.Store {
			return transport.ErrRemoved
		}
	}
	return nil
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
		c.Dead = append(c.Dead, d.UUID)
	}
	for _, s := range r.marker.Shards {
		c.Shards = append(c.Shards, &eventv1.ShardMap{Shard: uint32(s.Shard), Replicas: []*eventv1.PlacedReplica{{
			Id: s.Replica, Node: r.options.NodeName, Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER,
		}}})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := r.ask(ctx, nodev1.Kind_KIND_PLACEMENT, &nodev1.Command{Body: &nodev1.Command_RecoverPlacement{RecoverPlacement: c}})
		if err == nil {
			err = recovery.ClearMarker(r.store)
		}
		if err == nil {
			break
		}
		r.options.Logger.Warn("the unsafe recovery is not complete yet", "error", err)
		timer.Reset(enlistEvery)
	}
	r.recovering.Store(false)
	r.options.Logger.Warn("the unsafe recovery is complete", "shards", len(c.Shards), "dead stores", len(c.Dead))
}
