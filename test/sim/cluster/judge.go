package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"parley/actors/grain"
	"parley/actors/query"
	"parley/cluster/shard"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// settleWithin is how long everything may take once the faults have ended.
const settleWithin = 60 * time.Second

// headWithin is how long after the faults every open subscription is at the head.
const headWithin = 10 * time.Second

// Run lets faults happen for a while, then ends them, and gives all that is broken.
func (w *World) Run(lasts time.Duration) []history.Violation {
	w.lasts = lasts
	if len(w.broken) > 0 {
		return w.broken // it was not even founded as it should
	}
	over := w.now + lasts
	if w.rng.IntN(2) == 0 { // the last words fall among faults, and no later ones show that they were lost
		w.after(lasts-time.Duration(w.rng.Int64N(int64(2*time.Second))), func() { w.ending = true })
	}
	for w.now < over && len(w.broken) == 0 {
		w.until(w.now + time.Duration(50+w.rng.IntN(700))*time.Millisecond)
		w.strike()
	}
	w.calm()
	w.until(w.now + time.Second)
	w.ending = true
	w.until(w.now + headWithin - time.Second)
	w.judgeOpen()
	w.history.Settled = w.await(settleWithin, w.atRest)
	if !w.history.Settled {
		w.fail("liveness", "after %v without faults: %s", settleWithin, w.unrest())
		w.history.Settled = true // so that the rules say whom it concerns
	}
	for _, c := range w.clients {
		if c.pending != nil {
			w.history.Sends = append(w.history.Sends, *c.pending)
		}
	}
	w.judged = true
	if err := w.readAll(); err != nil {
		w.fail("read", "%v", err)
	}
	return append(w.broken, history.Check(w.history)...)
}

// atRest says that nothing is left to wait for.
func (w *World) atRest() bool { return w.unrest() == "" }

// unrest says what is left to wait for, "" for nothing.
func (w *World) unrest() string {
	if !w.whole() {
		return fmt.Sprintf("the cluster is not whole: %d shards are under-replicated", w.picture.View.UnderReplicated())
	}
	if why := w.leftovers(); why != "" {
		return why
	}
	for _, c := range w.clients {
		if c.pending != nil || c.busy {
			return fmt.Sprintf("%s waits for an answer: %+v", c.name, c.pending)
		}
	}
	for _, r := range w.rooms {
		log, known := w.log(r)
		if !known {
			return fmt.Sprintf("%s has no leader", r)
		}
		for _, c := range w.clients {
			if c.application != r.application {
				continue
			}
			in := memberOf(log, c.user)
			if why := c.device.behind(r, log, in); why != "" {
				return why
			}
			if indexed, known := w.indexed(c, r); !known || indexed != in {
				return fmt.Sprintf("the index of %s says of %s that it is a member: %v", c.name, r, indexed)
			}
		}
	}
	return ""
}

// judgeOpen holds every open subscription to the head of its room, as far as the room has a leader.
func (w *World) judgeOpen() {
	for _, r := range w.rooms {
		log, _ := w.log(r)
		for _, c := range w.clients {
			f, last := c.device.feeds[r], c.device.last[r]
			if f != nil && f.screen > 0 && f.sub != nil && last < uint64(len(log)) {
				w.fail("S8", "%v after the faults %s at %s shows %d of %s, the head is %d", headWithin, c.name, c.at, last, r, len(log))
			}
		}
	}
}

// leftovers says which replica is on a node's disk that its shard has no more, "" for none. One that has
// applied nothing is no member, and gives way to the next.
func (w *World) leftovers() string {
	for _, name := range w.running() {
		n := w.nodes[name]
		for s := keys.Meta; s <= shards; s++ {
			status, err := n.stepper.Status(s)
			if err == nil && status.Applied > 0 && !n.belongs(w.picture.Seen[uint32(s)]) {
				return fmt.Sprintf("%s keeps replica %d of shard %d, which was removed", name, status.Replica, s)
			}
		}
	}
	return ""
}

// memberOf says whether a user is a member at the end of a log.
func memberOf(log []history.Event, user string) (in bool) {
	for _, e := range log {
		if e.Subject == user {
			in = e.Kind == history.MemberIn
		}
	}
	return in
}

// behind says what a device still waits for in a room, "" for nothing.
func (d *device) behind(r room, log []history.Event, member bool) string {
	f := d.feeds[r]
	if f == nil && member || f != nil && (f.screen == 0 || f.sub == nil || d.last[r] < uint64(len(log))) {
		return fmt.Sprintf("%s at %s has %d of %s, the head is %d", d.client.name, d.client.at, d.last[r], r, len(log))
	}
	return ""
}

// indexed says whether the user's own shard has a room among its memberships: the outbox brings it.
func (w *World) indexed(c *client, r room) (in, known bool) {
	n := w.leaderOf(keys.ShardOf(c.application, c.user, shards))
	if n == nil {
		return false, false
	}
	reply := query.Serve(n.store.Reader(), shards, &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_USER, ApplicationId: c.application, Id: c.user,
		Query: &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: c.application, Admin: true}, Body: &nodev1.Query_ListMemberships{
			ListMemberships: &nodev1.ListMemberships{Page: &nodev1.Page{}, States: []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_JOINED}}}}})
	return slices.ContainsFunc(reply.GetReply().GetMemberships(), func(m *eventv1.Membership) bool {
		return m.ConversationId == r.id
	}), reply.Error == nil
}

// leaderOf is the node that leads a shard and is ready, nil for none.
func (w *World) leaderOf(s keys.Shard) *node {
	for _, name := range w.running() {
		if l := w.nodes[name].leads[s]; l.Local && l.Ready {
			return w.nodes[name]
		}
	}
	return nil
}

// log is a room's log as its leader has applied it.
func (w *World) log(r room) ([]history.Event, bool) {
	n := w.leaderOf(shardOf(r))
	if n == nil {
		return nil, false
	}
	read, err := n.readHere(r)
	return read.Events, err == nil
}

// readAll reads every room to its end at every node that has a replica, after a read index there.
func (w *World) readAll() error {
	for _, r := range w.rooms {
		for _, name := range w.running() {
			n := w.nodes[name]
			if !n.belongs(w.picture.Seen[uint32(shardOf(r))]) {
				continue
			}
			read, err := w.readAt(n, r)
			if err != nil {
				return fmt.Errorf("%s at %s: %w", r, name, err)
			}
			w.history.Reads = append(w.history.Reads, read)
		}
	}
	return nil
}

// readAt reads a room at a node, with a read index of its replica.
func (w *World) readAt(n *node, r room) (read history.Read, err error) {
	err = w.must(10*time.Second, func(done func(error)) {
		n.stepper.ReadIndex(shardOf(r), func(_ shard.Epoch, err error) { done(err) })
		n.wake()
	})
	if err != nil {
		return read, err
	}
	read, err = n.readHere(r)
	w.note(uint64(len(read.Events)))
	return read, err
}

// readHere reads a room from the node's own state, as it is.
func (n *node) readHere(r room) (history.Read, error) {
	reply := query.Serve(n.store.Reader(), shards, &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: r.application, Id: r.id,
		Query: &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: r.application, Admin: true},
			Body: &nodev1.Query_ListEvents{ListEvents: &nodev1.ListEvents{Page: &nodev1.Page{}}}}})
	read := history.Read{Conversation: r.String(), Observer: n.name}
	for _, v := range reply.GetReply().GetEvents() {
		read.Events = append(read.Events, observed(v.Event))
	}
	return read, grain.CodedError(reply.Error)
}

// gravest is the violation that the others may be consequences of. A rule that has no place among the
// gravest comes after all that have.
func gravest(violations []history.Violation) history.Violation {
	ranked := []string{"I4", "S1", "S2", "S3", "S4", "S8", "S5", "S7"}
	place := func(v history.Violation) int {
		if i := slices.Index(ranked, v.Rule); i >= 0 {
			return i
		}
		return len(ranked)
	}
	return slices.MinFunc(violations, func(a, b history.Violation) int { return cmp.Compare(place(a), place(b)) })
}

// Report tells a failed run: what is broken first, what it is about, and how to run it again.
func (w *World) Report(seed uint64, violations []history.Violation) string {
	first := gravest(violations)
	return fmt.Sprintf("seed %d: %d violations, first %v\n%sfaults: %v\nrepeat: make sim SEED=%d SIM_LASTS=%v",
		seed, len(violations), first, history.Excerpt(w.history, first), w.faults, seed, w.lasts)
}
