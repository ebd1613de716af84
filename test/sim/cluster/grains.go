package cluster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"parley/actors/conversation"
	"parley/actors/grain"
	"parley/actors/name"
	"parley/actors/outbox"
	"parley/actors/placement"
	"parley/actors/user"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// machines are the kinds that a simulated node hosts.
var machines = map[nodev1.Kind]func(grain.Entity) grain.Machine{
	nodev1.Kind_KIND_CONVERSATION: conversation.New,
	nodev1.Kind_KIND_USER:         user.New,
	nodev1.Kind_KIND_NAME:         name.New,
	nodev1.Kind_KIND_PLACEMENT:    placement.New,
}

type entity struct {
	kind            nodev1.Kind
	application, id string
}

// activation is a live grain.
type activation struct {
	*grain.Activation
	shard keys.Shard
	epoch shard.Epoch
	over  bool

	waiting []*waiter // in the order of their commands
}

// waiter is a command without an answer.
type waiter struct{ respond func(*nodev1.GrainReply) }

// take gives the grain a command.
func (a *activation) take(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	w := &waiter{respond}
	a.waiting = append(a.waiting, w)
	a.Receive(req, func(r *nodev1.GrainReply) {
		a.waiting = slices.DeleteFunc(a.waiting, func(other *waiter) bool { return other == w })
		respond(r)
	})
}

// command brings a command to its grain, if this node leads its shard.
func (n *node) command(s keys.Shard, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	lead := n.leads[s]
	if !lead.Local || !lead.Ready || n.ending[s] > 0 {
		respond(&nodev1.GrainReply{NotLeader: true})
		return
	}
	k := entity{req.Kind, req.ApplicationId, req.Id}
	if n.grains[k] == nil {
		n.activate(k, lead)
	}
	a := n.grains[k]
	a.take(req, respond)
	if n.w.now < n.panicking && n.w.rng.IntN(4) == 0 {
		n.after(time.Duration(n.w.rng.Int64N(int64(30*time.Millisecond))), func() { n.giveUp(k, a) })
	}
	n.wake()
}

// giveUp ends a grain as a panic does, perhaps with a write in flight: nobody stops it, whoever waits
// is told that nothing is known, and the next command meets a fresh one in the same epoch.
func (n *node) giveUp(k entity, a *activation) {
	if n.grains[k] != a {
		return
	}
	delete(n.grains, k)
	a.over = true
	a.Abandon()
	for _, w := range a.waiting {
		w.respond(&nodev1.GrainReply{Error: &nodev1.Error{Code: string(code.Unknown)}})
	}
}

func (n *node) activate(k entity, lead shard.Lead) {
	setting := &grain.Setting{Host: n.host, Listener: n, Now: n.milliseconds, Options: grain.DefaultOptions(), Metrics: n.metrics}
	setting.Options.Shards = shards
	a := &activation{shard: lead.Shard, epoch: lead.Epoch}
	a.Activation = grain.Activate(grain.Entity{Shard: lead.Shard, Kind: k.kind, Application: k.application, ID: k.id},
		lead.Epoch, machines[k.kind], setting, func(msg any) {
			n.after(0, func() { // in order: of the same moment, what was planned first comes first
				if !a.over {
					a.Wake(msg)
				}
			})
		})
	n.grains[k] = a
}

// endGrains ends the grains of an epoch that is over: soon, until when they work on and know nothing.
func (n *node) endGrains(l shard.Lead) {
	for _, k := range slices.SortedFunc(maps.Keys(n.grains), func(a, b entity) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.application, b.application), cmp.Compare(a.id, b.id))
	}) {
		a := n.grains[k]
		if a.shard != l.Shard || l.Local && l.Ready && a.epoch == l.Epoch {
			continue
		}
		delete(n.grains, k)
		n.ending[l.Shard]++
		n.after(time.Duration(n.w.rng.Int64N(int64(20*time.Millisecond))), func() {
			a.Stop()
			a.over = true
			n.ending[a.shard]--
		})
	}
}

// Broadcast implements grain.Listener.
func (n *node) Broadcast(s keys.Shard, items []*nodev1.Fanout) { n.fanout.Broadcast(s, items) }

// Posted implements grain.Listener.
func (n *node) Posted(s keys.Shard, rows []grain.Row) {
	n.queues.Put(s, n.leads[s].Epoch, outbox.Posted{Rows: rows})
}

// Missed implements grain.Listener.
func (n *node) Missed(s keys.Shard) {
	n.queues.Put(s, n.leads[s].Epoch, outbox.Overrun{})
	n.fanout.Missed(s)
}

// queueing is the node as its outbox queues see it.
type queueing struct{ *node }

// Later implements frame.Node.
func (n queueing) Later(do func()) { n.after(0, do) }

// Milliseconds implements frame.Node.
func (n queueing) Milliseconds() int64 { return n.milliseconds() }

// Luck implements frame.Node.
func (n queueing) Luck() float64 { return n.w.rng.Float64() }

// Broken implements frame.Node.
func (n queueing) Broken(s keys.Shard, err error) {
	n.w.fail("outbox", "%s, shard %d: %v", n.name, s, err)
}

// Deliver implements frame.Node.
func (n queueing) Deliver(r grain.Row, done func(error)) {
	req := &nodev1.GrainRequest{Kind: r.Row.TargetKind, ApplicationId: r.Row.ApplicationId, Id: r.Row.TargetId, Command: r.Row.Command}
	n.call(req, func(_ *nodev1.GrainReply, err error) { done(err) })
}
