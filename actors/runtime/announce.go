package runtime

import (
	"context"
	"time"

	"parley/cluster/membership"
	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

const (
	// announceEvery is how often a node says what it leads when nothing changes.
	announceEvery = time.Second
	// announceAfter is how long changes are collected before they are told.
	announceAfter = 5 * time.Millisecond
)

// announcer hears of changed leads, to tell the other nodes. It implements shard.Observer.
type announcer struct{ wake chan struct{} } // capacity 1: changes before the next round make one

// LeadChanged implements shard.Observer.
func (a announcer) LeadChanged(shard.Lead) {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run has tell called announceAfter the first change that was not told yet, however many follow it, and
// every announceEvery.
func (a announcer) run(ctx context.Context, tell func()) {
	timer := time.NewTimer(announceEvery)
	defer timer.Stop()
	for wake := a.wake; ; {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			wake = nil // what comes now is told with it
			timer.Reset(announceAfter)
		case <-timer.C:
			wake = a.wake
			timer.Reset(announceEvery)
			tell()
		}
	}
}

// announce tells all nodes which shards this one leads, at each change and every second.
func (r *Runtime) announce(ctx context.Context) { r.announcer.run(ctx, r.announceOnce) }

func (r *Runtime) announceOnce() {
	if err := r.public.look(); err != nil {
		r.options.Logger.Error("the replica of the meta shard could not be read", "error", err)
	}
	r.followVersion()
	view := r.members.View()
	if len(view.Nodes) < 2 {
		return
	}
	msg := &nodev1.GrainRequest{Command: &nodev1.Command{Body: &nodev1.Command_Announce{Announce: r.announcement()}}}
	for _, n := range view.Nodes {
		if n.Name == r.options.NodeName || n.Meta.RPC == "" {
			continue
		}
		if err := r.system.Send(n.Name, nodeReceiver, msg); err != nil {
			r.options.Logger.Debug("leads were not announced", "node", n.Name, "error", err)
		}
	}
}

func (r *Runtime) announcement() *nodev1.Announce {
	a := &nodev1.Announce{Node: r.options.NodeName, Incarnation: r.incarnation, Rpc: r.system.Addr()}
	for s := keys.Meta; s <= keys.Shard(r.shards); s++ {
		if l := r.directory.Get(s); l.Serves() {
			a.Leads = append(a.Leads, &nodev1.ShardLead{Shard: uint32(s), Epoch: uint64(l.Epoch)})
		}
	}
	if r.directory.Get(keys.Meta).Serves() {
		a.Public, _, _ = r.public.version() // 0 when it cannot be read: look has said so
	}
	return a
}

// heard takes another node's announcement. It is called from one goroutine at a time.
func (r *Runtime) heard(a *nodev1.Announce) {
	r.directory.SetAddress(a.Node, a.Rpc)
	for _, l := range a.Leads {
		r.directory.Announce(keys.Shard(l.Shard), a.Node, shard.Epoch(l.Epoch))
	}
	r.relay.nudge()
	if a.Public > 0 {
		r.public.news(a.Public)
	}
}

// watch forgets the edges of nodes that have left, and tells the driver and the others of changes.
func (r *Runtime) watch(ctx context.Context) {
	views, stop := r.members.Watch()
	defer stop()
	var before *membership.View
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-views:
			if before != nil {
				r.forgetGone(before, now)
			}
			before = now
			r.announcer.LeadChanged(shard.Lead{})
			r.driver.Wake()
		}
	}
}

// forgetGone forgets the edges that are not there any more.
func (r *Runtime) forgetGone(before, now *membership.View) {
	for _, node := range gone(before, now) {
		r.fanout.Forget(node)
	}
}

// gone lists the nodes of one view that are not in the next, also those whose name another one has taken
// over: one with an empty disk, whose life may have a smaller number than the last of the one before it.
func gone(before, now *membership.View) (nodes []string) {
	for _, n := range before.Nodes {
		if still, ok := now.Find(n.Name); !ok || still.Meta.Incarnation < n.Meta.Incarnation {
			nodes = append(nodes, n.Name)
		}
	}
	return nodes
}
