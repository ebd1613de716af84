package runtime

import (
	"context"
	"errors"
	"fmt"

	"parley/persistence/keys"
)

// Ready says whether the node serves, and if not, why. It is cheap.
func (r *Runtime) Ready() (ready bool, why string) {
	if r.draining.Load() {
		return false, "the node is draining"
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

// WaitReady waits until every shard has been served once.
func (r *Runtime) WaitReady(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		_, why := r.Ready()
		return fmt.Errorf("the node did not become ready (%s): %w", why, ctx.Err())
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

// Drain prepares the node for Close: it is not ready from now on, so load balancers turn away,
// and it leaves the gossip, so that other nodes do. ctx bounds it.
func (r *Runtime) Drain(ctx context.Context) error {
	r.draining.Store(true)
	left := make(chan error, 1) // for the one result, also when nobody waits any more
	r.group.Go(func() error { left <- r.members.Leave(); return nil })
	select {
	case err := <-left:
		if err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain: %w", ctx.Err())
	}
}
