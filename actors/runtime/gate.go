package runtime

import (
	"parley/actors/placement"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// current refuses the orders of a driver that has a successor: what it saw may be of the past.
func (r *Runtime) current(driver uint64) error {
	for {
		newest := r.orders.Load()
		if latest := max(newest, uint64(r.directory.Get(keys.Meta).Epoch)); driver < latest {
			return code.New(code.Unavailable, "the order is of the driver of epoch %d, which has a successor of epoch %d", driver, latest)
		}
		if r.orders.CompareAndSwap(newest, driver) {
			return nil
		}
	}
}

// speak compares what this build speaks with the version that the store last saw the cluster at, and starts
// from there: the first stream must not be judged by less.
func (r *Runtime) speak() error {
	row, err := placement.Row(r.public)
	if err != nil || row.NextReplica == 0 {
		return err
	}
	at := placement.VersionOf(row)
	if why := r.options.Versions.Refuses(at); why != "" {
		return code.New(code.Permission, "%s", why)
	}
	r.gate.Raise(at)
	return nil
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
	if r.gaveUp(i.Store) {
		return transport.ErrRemoved
	}
	return nil
}
