package runtime_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/runtime"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// until asks again and again, until what it asks for is so.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	again, late := time.NewTicker(10*time.Millisecond), time.NewTimer(patience)
	defer again.Stop()
	defer late.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("never: %s", what)
		}
	}
}

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
		if !step.refused { // at once, on a machine with time: else a replica may still be being dropped
			until(t, step.what, func() bool { return order(step.kind, step.replica) == nil })
		} else if order(step.kind, step.replica) == nil {
			t.Errorf("%s: not refused", step.what)
		}
		switch now, err := runtime.Replica(t.Context(), r, s); {
		case step.here == 0 && !errors.Is(err, shard.ErrNoReplica), step.here != 0 && (err != nil || now.Replica != step.here):
			t.Errorf("after %s: replica %d, %v; want %d", step.what, now.Replica, err, step.here)
		}
	}
}

// TestADropThatWaitsForSpace: on a full disk the dropping of a replica goes on until there is space, but who has
// it done is not kept waiting. What the meta shard's replica showed is shown no more: it would grow old.
func TestADropThatWaitsForSpace(t *testing.T) {
	disk, fill := runtime.ScarceDisk()
	r := open(t, options(t, disk))
	defer closed(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	epoch := r.Epoch()
	drop := func(s keys.Shard, replica shard.ReplicaID) error {
		return r.Order(ctx, "n1", &nodev1.Order{DriverEpoch: max(epoch, r.Epoch()), Kind: nodev1.OrderKind_ORDER_KIND_DESTROY,
			Shard: uint32(s), Replica: uint64(replica)})
	}
	const s = keys.Shard(3)
	first, err := runtime.Replica(ctx, r, s)
	meta, unknown := runtime.Replica(ctx, r, keys.Meta)
	if err != nil || unknown != nil {
		t.Fatal(err, unknown)
	}
	defer func() { // no write may wait for space when the node stops
		fill(false)
		if err := runtime.Drop(t.Context(), r, keys.Meta, meta.Replica); err != nil {
			t.Error(err)
		}
	}()
	fill(true)
	if err := drop(s, first.Replica); !code.Has(err, code.Unavailable) || ctx.Err() != nil {
		t.Errorf("without space: %v", err)
	}
	fill(false)
	until(t, "the end of a drop, with space", func() bool { return drop(s, first.Replica) == nil })
	until(t, "the copy shown, while the replica of the meta shard is dropped", func() bool {
		fill(true)
		defer fill(false) // so that somebody leads again, if the disk stood still for too long to lead
		err := drop(keys.Meta, meta.Replica)
		if err == nil {
			t.Fatal("the replica of the meta shard was dropped without space")
		}
		return runtime.Follows(r)
	})
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
