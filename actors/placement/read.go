package placement

import (
	"cmp"
	"fmt"
	"slices"

	"parley/actors/conversation/row"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
)

// Stores reads all members that r shows, removed ones included, by node name and then by uuid.
func Stores(r store.Reader) ([]*eventv1.Store, error) {
	all, err := row.All[eventv1.Store](r, keys.Stores())
	if err != nil {
		return nil, fmt.Errorf("read the members: %w", err)
	}
	slices.SortFunc(all, func(a, b *eventv1.Store) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Uuid, b.Uuid))
	})
	return all, nil
}

// Shards reads the shard map that r shows, by shard.
func Shards(r store.Reader) ([]*eventv1.ShardMap, error) {
	all, err := row.All[eventv1.ShardMap](r, keys.ShardMaps())
	if err != nil {
		return nil, fmt.Errorf("read the shard map: %w", err)
	}
	return all, nil
}

// Row reads the placement's own row; of a cluster that was not founded it is empty.
func Row(r store.Reader) (*eventv1.Placement, error) {
	p := &eventv1.Placement{}
	if _, err := row.Read(r, keys.Placement(), p); err != nil {
		return nil, fmt.Errorf("read the placement: %w", err)
	}
	return p, nil
}

// StateName is a state as people read and type it.
func StateName(s eventv1.StoreState) string {
	switch s {
	case eventv1.StoreState_STORE_STATE_UP:
		return "up"
	case eventv1.StoreState_STORE_STATE_DRAINING:
		return "draining"
	case eventv1.StoreState_STORE_STATE_REMOVING:
		return "removing"
	case eventv1.StoreState_STORE_STATE_REMOVED:
		return "removed"
	default:
		return "unknown"
	}
}

// RoleShards is the role of a node that keeps replicas.
const RoleShards = "shards"

// Holds says whether a member keeps replicas: one that names no roles does.
func Holds(s *eventv1.Store) bool { return len(s.Roles) == 0 || slices.Contains(s.Roles, RoleShards) }
