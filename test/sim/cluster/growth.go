package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"parley/actors/driver"
	"parley/actors/placement"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// deadAfter is how long a node may be dead before others get its replicas.
const deadAfter = 6 * time.Second

// place has the placement changed.
func (n *node) place(c *nodev1.Command, done func(error)) {
	c.Principal = &nodev1.Principal{Admin: true}
	n.call(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_PLACEMENT, ApplicationId: placement.ID, Id: placement.ID, Command: c},
		func(_ *nodev1.GrainReply, err error) { done(err) })
}

// self is this node as a member.
func (n *node) self() *eventv1.Store {
	return &eventv1.Store{Uuid: n.w.stores[n.name], Node: n.name, Incarnation: n.life, Gossip: "g:1", Rpc: "r:1", Raft: "f:1",
		VersionOldest: 1, VersionNewest: 1}
}

// enlist has this node written as a member, until that is done or refused for ever.
func (n *node) enlist() {
	if n.member || n.w.founding {
		return
	}
	n.place(&nodev1.Command{Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: n.self()}}}, func(err error) {
		switch {
		case err == nil:
			n.member = true
		case code.Has(err, code.Permission), code.Has(err, code.ValidationFail):
			n.w.expelled(n)
		}
	})
}

// found writes where the shards of a new cluster are.
func (n *node) found(done func(error)) {
	f := &nodev1.FoundPlacement{Founder: n.self(), NextReplica: shards + 2}
	for s := range uint32(shards + 1) {
		f.Shards = append(f.Shards, &eventv1.ShardMap{Shard: s, Replicas: []*eventv1.PlacedReplica{{
			Id: uint64(s) + 1, Node: n.name, Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER}}})
	}
	n.place(&nodev1.Command{Body: &nodev1.Command_FoundPlacement{FoundPlacement: f}}, done)
}

// drive runs one round of the driver, if this node drives and the last round is over.
func (n *node) drive() {
	if n.Epoch() == 0 || n.driving != nil && !n.driving.over {
		return
	}
	n.driving = start(func(wait func(func(func()))) {
		ctx := context.WithValue(context.Background(), waiting{}, wait)
		picture, err := n.driver.Look(ctx)
		if err != nil || picture.Epoch == 0 {
			return
		}
		n.w.saw(n, picture)
		for _, s := range n.driver.Steps(picture) {
			err := s.Do(ctx)
			n.w.stepped(s.Kind, err)
		}
	})
	n.driving.step(func(f func()) { n.after(0, f) })
}

// waiting is the key under which a driver's context has the way to wait.
type waiting struct{}

func await(ctx context.Context, begin func(resume func())) {
	ctx.Value(waiting{}).(func(func(func())))(begin)
}

// Epoch implements driver.Cluster.
func (n *node) Epoch() uint64 {
	if lead := n.directory.Get(keys.Meta); lead.Serves() {
		return uint64(lead.Epoch)
	}
	return 0
}

// Public implements driver.Cluster.
func (n *node) Public() store.Reader { return n.store.Reader() }

// Live implements driver.Cluster.
func (n *node) Live(peer string) bool { return peer == n.name || !n.silent(peer) }

// Leaving implements driver.Cluster.
func (n *node) Leaving(peer string) bool { return n.full[peer] }

// Full implements driver.Cluster.
func (n *node) Full() []string {
	var names []string
	for _, name := range n.w.names() {
		if n.full[name] {
			names = append(names, name)
		}
	}
	return names
}

// Observe implements driver.Cluster.
func (n *node) Observe(ctx context.Context, nodes []string) (answers []driver.Answer) {
	await(ctx, func(resume func()) {
		open := len(nodes)
		if open == 0 {
			resume()
			return
		}
		for _, peer := range nodes {
			n.ask(peer, time.Second, func(at *node, respond func(any)) { respond(at.observe()) }, func(reply any, err error) {
				if err == nil {
					answers = append(answers, driver.Answer{Node: peer, Shards: reply.([]*nodev1.ObservedShard)})
				}
				if open--; open == 0 {
					resume()
				}
			})
		}
	})
	return answers
}

// given is an order that a driver has given.
type given struct {
	by    *node
	to    string
	order *nodev1.Order
}

// repeat has a node get some of the driver's orders again, late: each may have been sent a second time,
// because no answer came, and have waited on its way.
func (w *World) repeat() {
	var fresh []given
	for _, g := range w.orders {
		if !g.by.dead && g.by.Epoch() == g.order.DriverEpoch {
			fresh = append(fresh, g)
		}
	}
	w.orders = fresh // nobody obeys the others any more
	for range min(len(fresh), 3) {
		g := fresh[w.rng.IntN(len(fresh))]
		w.net.message(g.by, g.to, func(at *node) { at.obey(g.order, func(error) {}) })
	}
}

// Order implements driver.Cluster.
func (n *node) Order(ctx context.Context, to string, o *nodev1.Order) (err error) {
	await(ctx, func(resume func()) {
		n.ask(to, 3*time.Second, func(at *node, respond func(any)) {
			at.obey(o, func(err error) { respond(err) })
		}, func(reply any, silence error) {
			err, _ = reply.(error)
			err = errors.Join(err, silence)
			resume()
		})
	})
	n.w.orders = append(n.w.orders, given{n, to, o})
	return err
}

// Place implements driver.Cluster.
func (n *node) Place(ctx context.Context, c *nodev1.Command) (err error) {
	await(ctx, func(resume func()) { n.place(c, func(e error) { err = e; resume() }) })
	return err
}

// obey changes this node's replica of a shard, as package runtime does.
func (n *node) obey(o *nodev1.Order, done func(error)) {
	if o.DriverEpoch < max(n.orders, uint64(n.directory.Get(keys.Meta).Epoch)) {
		done(code.New(code.Unavailable, "a later driver is known"))
		return
	}
	n.orders = max(n.orders, o.DriverEpoch)
	s, replica := keys.Shard(o.Shard), shard.ReplicaID(o.Replica)
	switch o.Kind {
	case nodev1.OrderKind_ORDER_KIND_MAKE:
		n.makeReplica(s, replica, done)
	case nodev1.OrderKind_ORDER_KIND_CONFIGURE:
		changes := make([]shard.Change, len(o.Changes))
		for i, c := range o.Changes {
			changes[i] = shard.Change{Kind: shard.ChangeKind(c.Kind), Replica: shard.ReplicaID(c.Replica), Node: c.Node}
		}
		n.stepper.ChangeConf(s, o.Configured, changes, done)
	case nodev1.OrderKind_ORDER_KIND_TRANSFER:
		n.stepper.Transfer(s, replica)
		done(nil)
	case nodev1.OrderKind_ORDER_KIND_DESTROY:
		n.stepper.RemoveReplica(s, replica, func(err error) {
			if errors.Is(err, shard.ErrNoReplica) {
				err = nil // dropped before, or never made
			}
			done(err)
		})
	}
	n.wake()
}

// makeReplica makes an empty replica, also in the place of one that was never used.
func (n *node) makeReplica(s keys.Shard, replica shard.ReplicaID, done func(error)) {
	err := n.addReplica(s, replica)
	status, known := n.stepper.Status(s)
	switch {
	case !errors.Is(err, shard.ErrExists) || known != nil:
		done(err)
	case status.Replica == replica:
		done(nil) // made by an earlier order
	case status.Replica < replica && status.Applied == 0:
		n.stepper.RemoveReplica(s, status.Replica, func(err error) {
			n.after(0, func() { done(errors.Join(err, n.addReplica(s, replica))) })
		})
	default:
		done(err)
	}
}

// addReplica makes an empty replica, which must be the first of its id.
func (n *node) addReplica(s keys.Shard, replica shard.ReplicaID) error {
	err := n.stepper.AddReplica(s, replica)
	if err == nil {
		n.w.replicas.add(n.name, s, replica)
	}
	return err
}

// departed drops a replica that its shard has no more, also one that the driver has forgotten
// because the node was away for too long, as package runtime does.
func (n *node) departed(r shard.Removal) {
	if r.Confirmed {
		n.after(n.w.little(), func() { n.stepper.RemoveReplica(r.Shard, r.Replica, func(error) {}) })
	}
}

// belongs says whether the shard, as its leader sees it, has the replica that is here.
func (n *node) belongs(o *nodev1.ObservedShard) bool {
	status, err := n.stepper.Status(keys.Shard(o.Shard))
	return err == nil && slices.ContainsFunc(o.Replicas, func(r *nodev1.ObservedReplica) bool { return r.Id == uint64(status.Replica) })
}

// observe says how the shards fare that this node leads.
func (n *node) observe() (all []*nodev1.ObservedShard) {
	for s := keys.Meta; s <= shards; s++ {
		status, err := n.stepper.Status(s)
		if err != nil || status.Role != shard.RoleLeader || !n.directory.Get(s).Serves() {
			continue
		}
		o := &nodev1.ObservedShard{Shard: uint32(s), Epoch: status.Term, Leader: uint64(status.Replica), Joint: status.Joint, Commit: status.Commit,
			Configured: status.Configured}
		for _, m := range status.Replicas {
			follows := m.State == shard.StateReplicate || m.Replica == status.Replica
			o.Replicas = append(o.Replicas, &nodev1.ObservedReplica{Id: uint64(m.Replica), Node: m.Node, Voter: m.Voter, Match: m.Match,
				CaughtUp: follows && m.Match+uint64(shard.DefaultOptions().CaughtUpEntries) >= status.Commit})
		}
		all = append(all, o)
	}
	return all
}

// settled says whether a picture shows nothing left to do: every shard has all its replicas where
// they belong, and nobody is on the way out.
func settled(p *driver.Picture) bool {
	for i := range p.View.Shards {
		if p.Busy(&p.View.Shards[i]) {
			return false
		}
	}
	return p.View.UnderReplicated() == 0 && !slices.ContainsFunc(p.Stores, func(s *eventv1.Store) bool {
		return s.State == eventv1.StoreState_STORE_STATE_REMOVING
	})
}

// storeOf makes the identity of a fresh disk.
func storeOf(name string, disks int) string {
	return id.Derive(id.Application, "", name, string(rune('0'+disks)))
}
