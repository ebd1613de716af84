package runtime

import (
	"parley/actors/placement"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
)

// MembersIn reads the members that a stopped node's store knows of, removed ones included: from its
// replica of the meta shard, if it has one, else from the last copy of the public part.
func MembersIn(st *store.Store) ([]*eventv1.Store, error) {
	p, err := openPublic(st)
	if err != nil {
		return nil, err
	}
	return placement.Stores(p)
}
