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
	"parley/test/sim/frame"
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
	host    frame.Host
	fanout  *fanout.Fanout
	live    *live
	metrics *grain.Metrics
	clock   func() int64

	leads     map[keys.Shard]shard.Lead
	grains    map[entityKey]*grain.Activation
	mailboxes map[entityKey][]func() // posted to grains, in order per grain
	queues    *frame.Queues
	posted    []func() // for outbox queues, in order
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
		mailboxes: map[entityKey][]func(){},
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
	n.host = frame.Host{Stepper: n.stepper, Store: st}
	n.queues = frame.NewQueues(n.host, queueing{n})
	if n.live, err = openLive(n); err != nil {
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
	n.queues.Follow(l)
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
		setting := &grain.Setting{Host: n.host, Listener: n, Now: n.clock, Options: grain.DefaultOptions(), Metrics: n.metrics}
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

// runQueues hands over what was posted to the outbox, and what an alarm has come for.
func (n *node) runQueues() bool {
	posted := n.posted
	n.posted = nil
	for _, run := range posted {
		run()
	}
	rung := n.queues.Ring(shards)
	return rung || len(posted) > 0
}

// queueing is the node as its outbox queues see it.
type queueing struct{ *node }

// Later implements frame.Node.
func (n queueing) Later(do func()) { n.posted = append(n.posted, do) }

// Milliseconds implements frame.Node.
func (n queueing) Milliseconds() int64 { return n.clock() }

// Luck implements frame.Node: there is none.
func (n queueing) Luck() float64 { return 0.5 }

// Broken implements frame.Node.
func (n queueing) Broken(s keys.Shard, err error) {
	panic(fmt.Sprintf("outbox of shard %d: %v", s, err))
}

// Deliver implements frame.Node.
func (n queueing) Deliver(r grain.Row, done func(error)) {
	n.ask(r.Row.TargetKind, r.Row.TargetId, r.Row.Command, func(reply *nodev1.GrainReply) {
		err := grain.CodedError(reply.Error)
		if reply.NotLeader {
			err = code.New(code.Unavailable, "not the leader")
		}
		done(err)
	})
}
