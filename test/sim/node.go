package sim

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/conversation"
	"parley/actors/fanout"
	"parley/actors/grain"
	"parley/actors/name"
	"parley/actors/outbox"
	"parley/actors/user"
	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// machines are the kinds that a simulated node hosts.
var machines = map[nodev1.Kind]func(grain.Entity) grain.Machine{
	nodev1.Kind_KIND_CONVERSATION: conversation.New,
	nodev1.Kind_KIND_USER:         user.New,
	nodev1.Kind_KIND_NAME:         name.New,
}

type entityKey struct {
	kind nodev1.Kind
	id   string
}

// node is one life of the simulated node, from a start to a crash. Everything in it is driven by
// one goroutine; nothing happens between two calls.
type node struct {
	// Fixed at open.
	store   *store.Store
	stepper *shard.Stepper
	fanout  *fanout.Fanout
	live    *live
	metrics *grain.Metrics
	clock   func() int64

	leads     map[keys.Shard]shard.Lead
	grains    map[entityKey]*grain.Activation
	mailboxes map[entityKey][]func() // posted to grains, in order per grain
	queues    map[keys.Shard]*queue
	posted    []func() // for outbox queues, in order
}

// queue is the outbox of one shard in one epoch with its next alarm.
type queue struct {
	epoch   shard.Epoch
	queue   *outbox.Queue
	alarmAt int64
}

// openNode starts a node on what the disk holds; an empty disk becomes a fresh cluster.
func openNode(disk vfs.FS, clock func() int64, life uint64, away *edge) (*node, error) {
	o := store.DefaultOptions()
	o.FS, o.LogMemTableBytes, o.StateMemTableBytes, o.CacheBytes = disk, 512<<10, 512<<10, 1<<20
	o.Logger = quiet()
	st, err := store.Open("node", o)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	n := &node{
		store: st, clock: clock, leads: map[keys.Shard]shard.Lead{}, grains: map[entityKey]*grain.Activation{},
		mailboxes: map[entityKey][]func(){}, queues: map[keys.Shard]*queue{},
	}
	if n.metrics, err = grain.NewMetrics(nil); err != nil {
		return nil, err
	}
	if err := shard.Bootstrap(context.Background(), st, nodeName, shards); err != nil && err != shard.ErrExists {
		return nil, err
	}
	ho := shard.DefaultOptions()
	ho.Node = nodeName
	if n.stepper, err = shard.OpenStepper(st, transport.NewMemory().Endpoint(nodeName), n, ho); err != nil {
		return nil, err
	}
	if n.live, err = openLive(n, life); err != nil {
		return nil, err
	}
	return n, n.openFanout(life, away)
}

func (n *node) openFanout(life uint64, away *edge) (err error) {
	o := fanout.DefaultOptions()
	o.Node, o.Incarnation, o.Edge, o.Remote, o.Shards = nodeName, life, n.live, n.live.toAway(away), shards
	o.Head = func(s keys.Shard, _, id string, done func(shard.Epoch, uint64, error)) {
		n.stepper.ReadIndex(s, func(epoch shard.Epoch, err error) {
			if err != nil {
				done(epoch, 0, err)
				return
			}
			head, err := n.head(s, id)
			done(epoch, head, err)
		})
	}
	n.fanout, err = fanout.New(o)
	return err
}

// head reads a conversation's last applied sequence; 0 before it has a head.
func (n *node) head(s keys.Shard, conversation string) (uint64, error) {
	key, err := grain.HeadKey(grain.Entity{Shard: s, Kind: nodev1.Kind_KIND_CONVERSATION, Application: application, ID: conversation})
	if err != nil {
		return 0, err
	}
	row, ok, err := n.store.Reader().Get(key)
	if err != nil || !ok {
		return 0, err
	}
	var head eventv1.Head
	err = head.UnmarshalVT(row[8:])
	return head.Sequence, err
}

// close lets go of the memory of a node that has crashed. Its disk has been copied before.
func (n *node) close() error {
	if err := n.stepper.Close(); err != nil {
		return err
	}
	return n.store.Close()
}

// LeadChanged implements shard.Observer. Grains and queues of an epoch end with it.
func (n *node) LeadChanged(l shard.Lead) {
	n.leads[l.Shard] = l
	n.fanout.LeadChanged(l)
	n.live.inbound.LeadChanged(l)
	if !l.Local || !l.Ready {
		delete(n.queues, l.Shard)
		return
	}
	if q := n.queues[l.Shard]; q == nil || q.epoch != l.Epoch {
		limits := outbox.DefaultLimits()
		n.queues[l.Shard] = &queue{epoch: l.Epoch, queue: outbox.NewQueue(l.Shard, n.store.Reader(), limits, func() float64 { return 0.5 })}
		n.toQueue(l.Shard, l.Epoch, outbox.Started{})
	}
}

// Broadcast implements grain.Listener.
func (n *node) Broadcast(s keys.Shard, items []*nodev1.Fanout) { n.fanout.Broadcast(s, items) }

// Posted implements grain.Listener.
func (n *node) Posted(s keys.Shard, rows []grain.Row) {
	n.toQueue(s, n.leads[s].Epoch, outbox.Posted{Rows: rows})
}

// Missed implements grain.Listener.
func (n *node) Missed(s keys.Shard) {
	n.toQueue(s, n.leads[s].Epoch, outbox.Overrun{})
	n.fanout.Missed(s)
}

// ask brings a command to its grain, as the caller of a running node does.
func (n *node) ask(kind nodev1.Kind, id string, c *nodev1.Command, done func(*nodev1.GrainReply)) {
	place := grain.Place(kind, application, id, shards)
	lead := n.leads[place]
	if !lead.Local || !lead.Ready {
		done(&nodev1.GrainReply{NotLeader: true})
		return
	}
	k := entityKey{kind, id}
	if n.grains[k] == nil {
		setting := &grain.Setting{Host: host{n.stepper, n.store}, Listener: n, Now: n.clock, Options: grain.DefaultOptions(), Metrics: n.metrics}
		setting.Options.Shards = shards
		entity := grain.Entity{Shard: place, Kind: kind, Application: application, ID: id}
		var a *grain.Activation
		a = grain.Activate(entity, lead.Epoch, machines[kind], setting, func(msg any) {
			n.mailboxes[k] = append(n.mailboxes[k], func() { a.Wake(msg) })
		})
		n.grains[k] = a
	}
	n.grains[k].Receive(&nodev1.GrainRequest{Kind: kind, ApplicationId: application, Id: id, Command: c}, done)
}

// host is what a grain sees of the stepper.
type host struct {
	*shard.Stepper
	store *store.Store
}

// Reader implements grain.Host.
func (h host) Reader() store.Reader { return h.store.Reader() }

// wakeOne hands the oldest message of one grain's mailbox over. False when all are empty.
func (n *node) wakeOne(draw func(int) int) bool {
	if len(n.mailboxes) == 0 {
		return false
	}
	k := pick(draw, n.mailboxes)
	wake := n.mailboxes[k][0]
	if n.mailboxes[k] = n.mailboxes[k][1:]; len(n.mailboxes[k]) == 0 {
		delete(n.mailboxes, k)
	}
	wake()
	return true
}

// loseTrack has the next command for a conversation activate it once more, while the activation
// before still works on what it has: nothing but the revision of each write stands between them.
func (n *node) loseTrack(conversation string) {
	delete(n.grains, entityKey{nodev1.Kind_KIND_CONVERSATION, conversation})
}

func (n *node) toQueue(s keys.Shard, epoch shard.Epoch, in outbox.Input) {
	n.posted = append(n.posted, func() {
		if q := n.queues[s]; q != nil && q.epoch == epoch {
			n.stepQueue(s, q, in)
		}
	})
}

// runQueues hands over what was posted to the outbox, and what an alarm has come for.
func (n *node) runQueues() bool {
	posted := n.posted
	n.posted = nil
	for _, run := range posted {
		run()
	}
	rung := false
	for s := keys.Meta; s <= shards; s++ {
		if q := n.queues[s]; q != nil && q.alarmAt != 0 && q.alarmAt <= n.clock() {
			q.alarmAt, rung = 0, true
			n.stepQueue(s, q, outbox.Ticked{})
		}
	}
	return rung || len(posted) > 0
}

func (n *node) stepQueue(s keys.Shard, q *queue, in outbox.Input) {
	outs, err := q.queue.Step(n.clock(), in)
	if err != nil {
		panic(err)
	}
	for _, out := range outs {
		switch out := out.(type) {
		case outbox.Deliver:
			n.deliver(s, q.epoch, out.Row)
		case outbox.Propose:
			n.stepper.Propose(shard.Proposal{Shard: s, Epoch: q.epoch, Write: out.Write, Done: func(err error) {
				n.toQueue(s, q.epoch, outbox.Deleted{Err: err})
			}})
		case outbox.Alarm:
			q.alarmAt = out.At
		}
	}
}

func (n *node) deliver(s keys.Shard, epoch shard.Epoch, r grain.Row) {
	n.ask(r.Row.TargetKind, r.Row.TargetId, r.Row.Command, func(reply *nodev1.GrainReply) {
		err := grain.CodedError(reply.Error)
		if reply.NotLeader {
			err = code.New(code.Unavailable, "not the leader")
		}
		n.toQueue(s, epoch, outbox.Delivered{Row: r, Err: err})
	})
}
