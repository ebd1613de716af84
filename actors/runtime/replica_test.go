package runtime_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/runtime"
	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// TestAnUnusedReplicaGivesWay: a replica that was made, and that its shard never took in, must not keep
// the next one away. One that has applied anything stays until it is known to be removed, and what was
// dropped does not come back.
func TestAnUnusedReplicaGivesWay(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	const s = keys.Shard(3)
	first, err := runtime.Replica(t.Context(), r, s)
	if err != nil || first.Applied == 0 {
		t.Fatalf("the founder's replica: %+v, %v", first, err)
	}
	order := func(kind nodev1.OrderKind, replica shard.ReplicaID) error {
		return r.Order(t.Context(), "n1", &nodev1.Order{DriverEpoch: r.Epoch(), Kind: kind, Shard: uint32(s), Replica: uint64(replica)})
	}
	for _, step := range []struct {
		what    string
		kind    nodev1.OrderKind
		replica shard.ReplicaID
		refused bool
		here    shard.ReplicaID // afterwards, 0 none
	}{
		{"one beside a replica in use", nodev1.OrderKind_ORDER_KIND_MAKE, 100, true, first.Replica},
		{"the end of the first", nodev1.OrderKind_ORDER_KIND_DESTROY, first.Replica, false, 0},
		{"the next", nodev1.OrderKind_ORDER_KIND_MAKE, 100, false, 100},
		{"the same again", nodev1.OrderKind_ORDER_KIND_MAKE, 100, false, 100},
		{"one in the place of an unused one", nodev1.OrderKind_ORDER_KIND_MAKE, 101, false, 101},
		{"a late order for the unused one", nodev1.OrderKind_ORDER_KIND_MAKE, 100, true, 101},
		{"an order for the first, from before", nodev1.OrderKind_ORDER_KIND_MAKE, first.Replica, true, 101},
	} {
		if err := order(step.kind, step.replica); (err != nil) != step.refused {
			t.Errorf("%s: %v", step.what, err)
		}
		switch now, err := runtime.Replica(t.Context(), r, s); {
		case step.here == 0 && !errors.Is(err, shard.ErrNoReplica), step.here != 0 && (err != nil || now.Replica != step.here):
			t.Errorf("after %s: replica %d, %v; want %d", step.what, now.Replica, err, step.here)
		}
	}
}

// TestALateChangeIsRefused: who orders a change of a shard's configuration says which one it has seen.
func TestALateChangeIsRefused(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	now, err := r.Picture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const s = 2
	seen := now.Seen[s].Configured
	if seen == 0 {
		t.Fatal("the configuration has no number")
	}
	remove := []*nodev1.ConfChange{{Kind: uint32(shard.Remove), Replica: 999}} // nobody has it
	for _, step := range []struct {
		seen uint64
		want error
	}{{seen - 1, shard.ErrChangedSince}, {seen + 1, shard.ErrChangedSince}, {seen, shard.ErrBadChange}} {
		err := r.Order(t.Context(), "n1", &nodev1.Order{DriverEpoch: r.Epoch(), Kind: nodev1.OrderKind_ORDER_KIND_CONFIGURE,
			Shard: s, Changes: remove, Configured: step.seen})
		if !errors.Is(err, step.want) {
			t.Errorf("a change of %d while the configuration is %d: %v, want %v", step.seen, seen, err, step.want)
		}
	}
}
