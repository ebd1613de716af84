package runtime

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/actors/driver"
	"parley/actors/placement"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// enlistEvery is the pause between two attempts to be written as a member.
const enlistEvery = 200 * time.Millisecond

// self is this node as a member of the cluster.
func (r *Runtime) self() *eventv1.Store {
	a := r.Addresses()
	return &eventv1.Store{
		Uuid: r.identity.StoreUUID, Node: r.options.NodeName, Roles: r.options.Roles, Incarnation: r.incarnation,
		Http: r.options.HTTPAddr, Gossip: a.Gossip, Rpc: a.RPC, Raft: a.Raft,
		VersionOldest: uint32(r.options.Versions.Oldest), VersionNewest: uint32(r.options.Versions.Newest),
	}
}

// enlist has this node written as a member, with where it is now. It repeats that until it is
// done; a refusal, which is for ever, is told to Expelled.
func (r *Runtime) enlist(ctx context.Context) {
	previous, told := "", ""
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := r.ask(ctx, nodev1.Kind_KIND_PLACEMENT, &nodev1.Command{Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: r.self()}}})
		switch {
		case err == nil:
			r.followVersion() // the cluster may just have been founded, at a later version than the gate began with
			close(r.member)
			r.relay.nudge()
			r.awaitRemoval(ctx)
			return
		case code.Has(err, code.Permission), code.Has(err, code.ValidationFail):
			r.expel(err)
			return
		}
		// Once, if it lasts: it may be for an operator to do something.
		why := err.Error()
		if why == previous && why != told {
			told = why
			r.options.Logger.Info("not a member yet", "error", err)
		}
		previous = why
		timer.Reset(enlistEvery)
	}
}

// expel says that this node has no place in the cluster. The first reason counts.
func (r *Runtime) expel(err error) {
	r.expelOnce.Do(func() {
		r.reason = fmt.Errorf("node %s cannot be part of the cluster: %w", r.options.NodeName, err)
		close(r.expelled)
	})
}

// removed hears from another node, of this very cluster, that this one was removed. Stores that an unsafe
// recovery gave up may be a majority of their own, which has heard of nothing: a survivor's word is enough.
func (r *Runtime) removed(by string, _ error) {
	r.expel(code.New(code.Permission, "node %s says that it was removed; its data directory may be deleted", by))
}

// Expelled is closed when the cluster refuses this node: it was removed, or its name belongs to
// another. The node should be closed then; WhyExpelled says why.
func (r *Runtime) Expelled() <-chan struct{} { return r.expelled }

// WhyExpelled says why the node was expelled, nil while it was not.
func (r *Runtime) WhyExpelled() error {
	select {
	case <-r.expelled:
		return r.reason
	default:
		return nil
	}
}

// onState follows what an operator wants of this node.
func (r *Runtime) onState(s eventv1.StoreState) {
	draining := s == eventv1.StoreState_STORE_STATE_DRAINING || s == eventv1.StoreState_STORE_STATE_REMOVING
	if r.drained.Swap(draining) || !draining {
		return
	}
	select {
	case r.drains <- struct{}{}:
	default:
	}
}

// Drains gives a value each time an operator begins to drain or remove this node: its clients
// should be sent elsewhere.
func (r *Runtime) Drains() <-chan struct{} { return r.drains }

// awaitRemoval looks whether the node was drained or removed while it ran.
func (r *Runtime) awaitRemoval(ctx context.Context) {
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		own, err := r.ownRow()
		if err != nil {
			continue // told by who reads more of it
		}
		if why := r.options.Versions.Refuses(r.gate.Current()); why != "" {
			r.expel(code.New(code.Permission, "%s", why))
			return
		}
		if own.GetState() == eventv1.StoreState_STORE_STATE_REMOVED {
			r.expel(code.New(code.Permission, "it was removed; its data directory may be deleted"))
			return
		}
		r.onState(own.GetState())
	}
}

// ownRow is this node's row as it sees it, nil when it sees none.
func (r *Runtime) ownRow() (*eventv1.Store, error) {
	stores, err := placement.Stores(r.public)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(stores, func(s *eventv1.Store) bool { return s.Uuid == r.identity.StoreUUID })
	if i < 0 {
		return nil, nil
	}
	return stores[i], nil
}

// isMember says whether the node is written as a member.
func (r *Runtime) isMember() bool {
	select {
	case <-r.member:
		return true
	default:
		return false
	}
}

// seeds are the gossip addresses that the node last knew of the others.
func (r *Runtime) seeds() []string {
	stores, err := placement.Stores(r.public)
	if err != nil {
		r.options.Logger.Error("the members could not be read", "error", err)
	}
	seeds := slices.Clone(r.options.Join)
	for _, s := range stores {
		if s.Node != r.options.NodeName && s.State != eventv1.StoreState_STORE_STATE_REMOVED && !slices.Contains(seeds, s.Gossip) {
			seeds = append(seeds, s.Gossip)
		}
	}
	return seeds
}

// Epoch implements driver.Cluster.
func (r *Runtime) Epoch() uint64 {
	lead := r.directory.Get(keys.Meta)
	if !lead.Serves() || r.recovering.Load() {
		return 0
	}
	return uint64(lead.Epoch)
}

// Public implements driver.Cluster.
func (r *Runtime) Public() store.Reader { return r.public }

// Live implements driver.Cluster.
func (r *Runtime) Live(node string) bool {
	if node == r.options.NodeName {
		return true
	}
	_, ok := r.members.View().Find(node)
	return ok
}

// Leaving implements driver.Cluster.
func (r *Runtime) Leaving(node string) bool {
	n, ok := r.members.View().Find(node)
	return ok && (n.Meta.Leaving || n.Meta.Full)
}

// observeWithin bounds how long one node may take to say how its shards fare.
const observeWithin = 2 * time.Second

// Observe implements driver.Cluster.
func (r *Runtime) Observe(ctx context.Context, nodes []string) []driver.Answer {
	ctx, cancel := context.WithTimeout(ctx, observeWithin)
	defer cancel()
	answers := make([]driver.Answer, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			reply, err := r.request(ctx, n, &nodev1.GrainRequest{Query: &nodev1.Query{Body: &nodev1.Query_Observe{Observe: &nodev1.Observe{}}}})
			if err == nil {
				answers[i] = driver.Answer{Node: n, Shards: reply.Observed, Away: reply.Away}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		r.options.Logger.Debug("a node did not say how its shards fare", "error", err)
	}
	return slices.DeleteFunc(answers, func(a driver.Answer) bool { return a.Node == "" })
}

// Order implements driver.Cluster.
func (r *Runtime) Order(ctx context.Context, node string, o *nodev1.Order) error {
	_, err := r.request(ctx, node, &nodev1.GrainRequest{Command: &nodev1.Command{Body: &nodev1.Command_Order{Order: o}}})
	return err
}

// Place implements driver.Cluster.
func (r *Runtime) Place(ctx context.Context, c *nodev1.Command) error {
	return r.ask(ctx, nodev1.Kind_KIND_PLACEMENT, c)
}

// SetMember changes what the cluster does with a member: drains it, takes it back, removes it.
// force allows a removal that leaves fewer than three.
func (r *Runtime) SetMember(ctx context.Context, node string, state eventv1.StoreState, force bool) error {
	return r.Place(ctx, &nodev1.Command{Body: &nodev1.Command_SetStore{SetStore: &nodev1.SetStore{Node: node, State: state, Force: force}}})
}

// Rebalance has the leaderships spread evenly.
func (r *Runtime) Rebalance(ctx context.Context) error {
	return r.Order(ctx, r.directory.Get(keys.Meta).Node, &nodev1.Order{Kind: nodev1.OrderKind_ORDER_KIND_REBALANCE})
}

// Joining lists the nodes that gossip knows and that are no members yet, by name. Of one that was removed
// gossip goes on telling for a while; what is started anew under its name has another incarnation.
func (r *Runtime) Joining() []string {
	stores, err := placement.Stores(r.public)
	if err != nil {
		return nil
	}
	var joining []string
	for _, n := range r.members.View().Nodes {
		if !slices.ContainsFunc(stores, func(s *eventv1.Store) bool {
			return s.Node == n.Name && (s.State != eventv1.StoreState_STORE_STATE_REMOVED || s.Incarnation == n.Meta.Incarnation)
		}) {
			joining = append(joining, n.Name)
		}
	}
	return joining
}

// Picture is the cluster as this node sees it, as fresh as it can be had.
func (r *Runtime) Picture(ctx context.Context) (*driver.Picture, error) {
	if err := r.fresh(ctx); err != nil {
		r.options.Logger.Debug("the picture of the cluster may be old", "error", err)
	}
	return r.driver.Look(ctx)
}

// localSessions lists the sessions of a user on this node's edge.
func (r *Runtime) localSessions(ctx context.Context, application, user string) ([]string, error) {
	if r.options.Sessions == nil {
		return nil, nil
	}
	return r.options.Sessions(ctx, application, user)
}

// Sessions lists the ids of a user's sessions on all edges, each once: a session that has moved is for a
// while remembered where it was. They are in the order in which they began; nodes that do not answer are
// left out.
func (r *Runtime) Sessions(ctx context.Context, application, user string) ([]string, error) {
	ids, err := r.localSessions(ctx, application, user)
	if err != nil {
		return nil, err
	}
	req := &nodev1.GrainRequest{ApplicationId: application, Query: &nodev1.Query{
		Body: &nodev1.Query_ListSessions{ListSessions: &nodev1.ListSessions{User: user}}}}
	for _, n := range r.members.View().Nodes {
		if n.Name == r.options.NodeName || n.Meta.RPC == "" {
			continue
		}
		reply, err := r.request(ctx, n.Name, req)
		if err != nil {
			r.options.Logger.Warn("the sessions of a node are not listed", "node", n.Name, "error", err)
			continue
		}
		ids = append(ids, reply.GetSessions()...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// SetGossipKeys replaces the keys of gossip while the node runs; see membership.Members.SetKeys.
func (r *Runtime) SetGossipKeys(keys [][]byte) (changed bool, err error) {
	return r.members.SetKeys(keys)
}
