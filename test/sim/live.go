package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/fanout"
	"parley/actors/grain"
	"parley/actors/query"
	"parley/cluster/shard"
	"parley/edge/hub"
	nodev1 "parley/proto/node/v1"
)

// live is the node's own edge: the hub as a step function, the live path that brings it what was
// committed, and the questions that it asks the cluster. The live path loses what the scheduler
// likes, because it may: the sequence is the truth.
type live struct {
	node    *node
	hub     *hub.Stepper
	inbound *fanout.Inbound // before the hub
	beatAt  int64           // Unix milliseconds of the next beat

	batches []*nodev1.FanoutBatch // on the live path, in order
	away    []func()              // batches on their way to another node's edge, in order
	answers []func()              // to questions, read and not yet arrived
}

var errLost = errors.New("the answer was lost")

// openLive makes the edge of one life. Its limits are small, so that all of them are met.
func openLive(n *node) (*live, error) {
	o := hub.DefaultOptions()
	o.Grace, o.Refresh = 500*time.Millisecond, 3*time.Second
	o.RecentMax, o.HeldMax, o.RoomBytesMax, o.PageBytes = 4, 3, 600, 1000
	now := func() time.Time { return time.UnixMilli(n.clock()) }
	h, err := hub.OpenStepper(o, now)
	if err != nil {
		return nil, err
	}
	in, err := fanout.NewInbound(nodeName, h.Hub, now, nil)
	return &live{node: n, hub: h, inbound: in}, err
}

// tick does what the time has come for.
func (l *live) tick() {
	if now := l.node.clock(); now >= l.beatAt {
		l.beatAt = now + fanout.BeatEvery.Milliseconds()
		l.node.fanout.Beat()
		l.inbound.Tick()
	}
	l.hub.Tick()
}

// Deliver implements fanout.Edge.
func (l *live) Deliver(b *nodev1.FanoutBatch) { l.batches = append(l.batches, b) }

// toAway is the other edge's end of fanout.Options.Remote.
func (l *live) toAway(to *edge) func(string, *nodev1.FanoutBatch, func(error)) {
	return func(_ string, b *nodev1.FanoutBatch, done func(error)) {
		l.away = append(l.away, func() { to.Deliver(b); done(nil) })
	}
}

// arrive brings the oldest batch to the edge, whole, in part, twice or never.
func (l *live) arrive(rng *rand.Rand) {
	if len(l.batches) == 0 {
		return
	}
	b := l.batches[0]
	l.batches = l.batches[1:]
	switch rng.IntN(12) {
	case 0: // lost: the next one shows a hole in the numbers
	case 1:
		l.inbound.Deliver(b)
		l.inbound.Deliver(b)
	case 2:
		b = proto.CloneOf(b)
		if n := len(b.Items); n > 0 {
			lost := rng.IntN(n)
			b.Items = slices.Delete(b.Items, lost, lost+1)
		}
		l.inbound.Deliver(b)
	default:
		l.inbound.Deliver(b)
	}
}

// calm is what runs when nothing is lost any more. It says whether there was anything.
func (l *live) calm() bool {
	switch {
	case len(l.batches) > 0:
		b := l.batches[0]
		l.batches = l.batches[1:]
		l.inbound.Deliver(b)
	case l.hub.Questions() > 0:
		l.ask(l.hub.Ask(0), false)
	case len(l.answers) > 0:
		l.answer(0)
	case len(l.away) > 0:
		l.awayStep()
	default:
		return l.hub.Pass()
	}
	return true
}

// awayStep lets the oldest batch to the other edge arrive.
func (l *live) awayStep() {
	if len(l.away) > 0 {
		arrive := l.away[0]
		l.away = l.away[1:]
		arrive()
	}
}

// turn lets the scheduler choose one thing that the edge does next.
func (l *live) turn(rng *rand.Rand) {
	switch rng.IntN(6) {
	case 0, 1:
		l.arrive(rng)
	case 2:
		if n := l.hub.Questions(); n > 0 {
			l.ask(l.hub.Ask(rng.IntN(n)), rng.IntN(8) == 0)
		}
	case 3:
		if n := len(l.answers); n > 0 {
			l.answer(rng.IntN(n))
		}
	case 4:
		l.hub.Pass()
	case 5:
		l.awayStep()
	}
}

func (l *live) answer(i int) {
	answer := l.answers[i]
	l.answers = append(l.answers[:i:i], l.answers[i+1:]...)
	answer()
}

func (l *live) later(answer func()) { l.answers = append(l.answers, answer) }

// ask brings a question to the cluster. An answer that is lost comes as an error.
func (l *live) ask(q *hub.Question, lose bool) {
	if q.Interest != nil {
		q.Interest.Edge = nodeName
		l.node.fanout.Interest(q.Interest, func(r *nodev1.InterestReply) {
			var err error
			if lose {
				err = errLost
			}
			l.later(func() { l.hub.Registered(q, r, err) })
		})
		return
	}
	l.node.query(q.Principal, q.Conversation, &nodev1.Query{Body: &nodev1.Query_ListEvents{ListEvents: q.Read}},
		func(r *nodev1.Reply, err error) {
			if lose {
				err = errLost
			}
			l.later(func() { l.hub.Fetched(q, r, err) })
		})
}

// query reads a conversation after a ReadIndex, as a running node does.
func (n *node) query(p *nodev1.Principal, conversation string, q *nodev1.Query, done func(*nodev1.Reply, error)) {
	n.stepper.ReadIndex(place(conversation), func(_ shard.Epoch, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		q.Principal = p
		reply := query.Serve(n.store.Reader(), shards, &nodev1.GrainRequest{
			Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: application, Id: conversation, Query: q})
		done(reply.Reply, grain.CodedError(reply.Error))
	})
}
