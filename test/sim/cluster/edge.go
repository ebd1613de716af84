package cluster

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"parley/actors/fanout"
	"parley/cluster/shard"
	"parley/edge/hub"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// openEdge makes what a node has for its clients and for the edges of others. Its limits are small,
// so that all of them are met.
func (n *node) openEdge() (err error) {
	o := hub.DefaultOptions()
	o.Grace, o.Refresh = 500*time.Millisecond, 20*time.Second
	o.RecentMax, o.HeldMax, o.RoomBytesMax, o.PageBytes = 4, 3, 600, 1000
	if n.hub, err = hub.OpenStepper(o, n.monotonic); err != nil {
		return err
	}
	if n.inbound, err = fanout.NewInbound(n.name, resyncer{n}, n.monotonic, nil); err != nil {
		return err
	}
	f := fanout.DefaultOptions()
	f.Node, f.Incarnation, f.Edge, f.Shards = n.name, n.life, n.inbound, shards
	f.Away.BatchItems, f.Away.PendingItems = 2, 3
	f.Remote = func(edge string, b *nodev1.FanoutBatch, done func(error)) {
		if n.fed = append(n.fed, feeding{edge, b, done}); len(n.fed) == 1 {
			n.after(0, n.feed)
		}
	}
	f.Head = n.head
	n.fanout, err = fanout.New(f)
	return err
}

// feeding is a batch on its way to another node's edge.
type feeding struct {
	edge  string
	batch *nodev1.FanoutBatch
	done  func(error)
}

// feed sends the batches that left at this moment, by edge: the fan-out goes through its edges in
// any order.
func (n *node) feed() {
	all := n.fed
	n.fed = nil
	slices.SortStableFunc(all, func(a, b feeding) int { return cmp.Compare(a.edge, b.edge) })
	for _, f := range all {
		if n.w.rng.IntN(200) < n.w.net.loss { // the connection breaks, and that is known at once
			n.after(n.w.little(), func() { f.done(errAway) })
			continue
		}
		n.ask(f.edge, 2*time.Second, func(at *node, respond func(any)) {
			at.inbound.Deliver(f.batch)
			respond(nil)
		}, func(_ any, err error) { f.done(err) })
	}
}

// monotonic is a clock that does not jump.
func (n *node) monotonic() time.Time { return time.UnixMilli(epochMs).Add(n.w.now) }

// resyncer is the hub as its inbound feeds see it.
type resyncer struct{ n *node }

// Deliver implements fanout.Edge.
func (r resyncer) Deliver(b *nodev1.FanoutBatch) { r.n.hub.Hub.Deliver(b); r.n.wake() }

// Resync implements fanout.Resyncer.
func (r resyncer) Resync(shards []keys.Shard) { r.n.hub.Hub.Resync(shards) }

// head finds the last sequence of a conversation and the epoch in which that is true.
func (n *node) head(s keys.Shard, application, conversation string, done func(shard.Epoch, uint64, error)) {
	n.serve(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: application, Id: conversation,
		Query: &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: application, Admin: true},
			Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}}},
		func(r *nodev1.GrainReply) {
			err := error(nil)
			switch {
			case r.NotLeader:
				err = shard.ErrNotLeader
			case r.Error != nil && r.Error.Code == string(code.ConversationNotFound):
				err = fanout.ErrGone
			case r.Error != nil:
				err = errors.New(r.Error.Code)
			}
			done(shard.Epoch(r.Epoch), r.GetReply().GetHead().GetSequence(), err)
		})
}

// askOne brings one of the hub's questions to the cluster.
func (n *node) askOne() bool {
	if n.hub.Questions() == 0 {
		return false
	}
	q := n.hub.Ask(n.w.rng.IntN(n.hub.Questions()))
	if q.Interest != nil {
		n.register(q)
		return true
	}
	n.call(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: q.Principal.ApplicationId, Id: q.Conversation,
		Query: &nodev1.Query{Principal: q.Principal, Body: &nodev1.Query_ListEvents{ListEvents: q.Read}}},
		func(r *nodev1.GrainReply, err error) { n.hub.Fetched(q, r.GetReply(), err) })
	return true
}

// register brings an interest to the leader of its shard, once.
func (n *node) register(q *hub.Question) {
	q.Interest.Edge, q.Interest.EdgeIncarnation = n.name, n.life
	lead := n.directory.Get(keys.ShardOf(q.Interest.ApplicationId, q.Interest.Id, shards))
	if lead.Node == "" {
		n.after(n.w.little(), func() { n.hub.Registered(q, nil, errSilent) })
		return
	}
	n.ask(lead.Node, time.Second, func(at *node, respond func(any)) {
		at.fanout.Interest(q.Interest, func(r *nodev1.InterestReply) { respond(r) })
	}, func(reply any, err error) {
		r, _ := reply.(*nodev1.InterestReply)
		if r != nil && !r.NotLeader && !q.Interest.Withdraw && !n.inbound.Registered(lead.Node, r) {
			r, err = nil, errAway
		}
		n.hub.Registered(q, r, err)
	})
}
