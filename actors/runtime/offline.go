package runtime

import (
	"parley/actors/placement"
	"parley/cluster/recovery"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
)

// MembersIn reads the members that a stopped node's store knows of, removed ones included: from its
// replica of the meta shard, if it has one, else from the last copy of the public part.
func MembersIn(st *store.Store) ([]recovery.Member, error) {
	p, err := openPublic(st)
	if err != nil {
		return nil, err
	}
	stores, err := placement.Stores(p)
	if err != nil {
		return nil, err
	}
	var members []recovery.Member
	for _, s := range stores {
		members = append(members, recovery.Member{
			Node: s.Node, Store: s.Uuid, Incarnation: s.Incarnation, Holds: placement.Holds(s),
			Removed: s.State == eventv1.StoreState_STORE_STATE_REMOVED, Addresses: []string{s.Raft, s.Rpc, s.Gossip},
		})
	}
	return members, nil
}
