package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/cluster/membership"
	"parley/cluster/shard"
	"parley/persistence/keys"
)

// Ready says whether the node serves, and if not, why. It is cheap.
func (r *Runtime) Ready() (ready bool, why string) {
	if r.draining.Load() {
		return false, "the node is draining"
	}
	if r.drained.Load() {
		return false, "the node was drained by an operator"
	}
	if r.store.Damage() != nil { // which file it is, the store has logged
		return false, "the node's store is damaged: see the log, and replace the node"
	}
	if !r.isMember() {
		return false, "the node is not a member of the cluster yet"
	}
	missing, first := 0, keys.Shard(0)
	for s := keys.Meta; s <= keys.Shard(r.shards); s++ {
		if l := r.directory.Get(s); l.Node != "" && l.Ready {
			continue
		}
		if missing == 0 {
			first = s
		}
		missing++
	}
	if missing > 0 {
		return false, fmt.Sprintf("%d shards have no leader, shard %d first", missing, first)
	}
	return true, ""
}

// Drained says whether an operator has drained the node and not taken it back.
func (r *Runtime) Drained() bool { return r.drained.Load() }

// Damaged is closed when the node's store turns out to be damaged; Damage says how. The node should be
// closed then: what it leads can only be served by others.
func (r *Runtime) Damaged() <-chan struct{} { return r.store.Damaged() }

// Damage is what was noticed, or nil.
func (r *Runtime) Damage() error { return r.store.Damage() }

// WaitReady waits until the node is a member and every shard has been served once, by whichever node.
// It ends with the reason when the cluster refuses the node or its store is damaged.
func (r *Runtime) WaitReady(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		_, why := r.Ready()
		return fmt.Errorf("the node did not become ready (%s): %w", why, ctx.Err())
	case <-r.expelled:
		return r.reason
	case <-r.store.Damaged():
		return r.store.Damage()
	case <-r.ctx.Done():
		return errors.New("the node was closed")
	}
}

// awaitReady closes ready at the first moment when all shards are served.
func (r *Runtime) awaitReady(ctx context.Context) {
	for {
		if ok, _ := r.Ready(); ok {
			close(r.ready)
			return
		}
		select {
		case <-r.relay.changed:
		case <-ctx.Done():
			return
		}
	}
}

// handoverEvery is how often Drain looks whether its leaderships have moved, and asks again.
const handoverEvery = 100 * time.Millisecond

// Drain prepares the node for Close: it is not ready from now on, so load balancers turn away, it
// takes no leadership any more, and it hands over those it has. It returns when none is left that
// somebody could take, or ctx ends.
func (r *Runtime) Drain(ctx context.Context) error {
	r.draining.Store(true)
	r.describe(func(m *membership.Meta) { m.Leaving = true })
	ticker := time.NewTicker(handoverEvery)
	defer ticker.Stop()
	for r.handOver(ctx) > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("drain: leaderships were not handed over: %w", ctx.Err())
		}
	}
	return nil
}

// handOver asks for every leadership to be taken that somebody can take, and says how many those are.
func (r *Runtime) handOver(ctx context.Context) (left int) {
	for s := keys.Meta; s <= keys.Shard(r.shards); s++ {
		if !r.directory.Get(s).Local {
			continue
		}
		status, err := r.host.Status(ctx, s)
		if err != nil || status.Role != shard.RoleLeader {
			continue
		}
		if heir, ok := r.heir(status, int(s)); ok {
			r.host.Transfer(s, heir)
			left++
		}
	}
	return left
}

// heir picks a voter on a live node, another one for the next shard, so that no single node gets all.
func (r *Runtime) heir(status shard.Status, turn int) (shard.ReplicaID, bool) {
	var able []shard.ReplicaID
	for _, m := range r.observed(status).Replicas {
		if m.Voter && m.CaughtUp && m.Node != r.options.NodeName && r.Live(m.Node) && !r.Leaving(m.Node) {
			able = append(able, shard.ReplicaID(m.Id))
		}
	}
	if len(able) == 0 {
		return 0, false
	}
	return able[turn%len(able)], true
}

// Leave tells the others that this node goes on purpose. Close follows. ctx bounds it.
func (r *Runtime) Leave(ctx context.Context) error {
	left := make(chan error, 1) // for the one result, also when nobody waits any more
	r.group.Go(func() error { left <- r.members.Leave(); return nil })
	select {
	case err := <-left:
		if err != nil {
			return fmt.Errorf("leave: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave: %w", ctx.Err())
	}
}
