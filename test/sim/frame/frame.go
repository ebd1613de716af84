// Package frame is what the simulated nodes of both simulations stand on: the state under a grain, and the outbox
// queues of the shards that a node leads. Who owns the time says when anything runs.
package frame

import (
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// Host is what a grain sees of a stepper and its store.
type Host struct {
	*shard.Stepper
	Store *store.Store
}

// Reader implements grain.Host.
func (h Host) Reader() store.Reader { return h.Store.Reader() }

// Node is what queues ask of their node.
type Node interface {
	// Later runs do soon, after what was given before.
	Later(do func())
	// Milliseconds is the node's own time, since 1970.
	Milliseconds() int64
	// Luck draws from 0 to below 1.
	Luck() float64
	// Deliver brings a row to its target. done hears what the target says.
	Deliver(r grain.Row, done func(error))
	// Broken hears of a queue that could not go on.
	Broken(s keys.Shard, err error)
}

// Queues are the outboxes of the shards that a node leads, each in one epoch.
type Queues struct {
	host   Host
	node   Node
	queues map[keys.Shard]*queue
}

// queue is the outbox of one shard in one epoch with its next alarm.
type queue struct {
	epoch   shard.Epoch
	queue   *outbox.Queue
	alarmAt int64
}

// NewQueues makes the queues of a node that leads nothing yet.
func NewQueues(h Host, n Node) *Queues {
	return &Queues{host: h, node: n, queues: map[keys.Shard]*queue{}}
}

// Follow starts a shard's queue when the node leads it, and drops it at the end of the epoch.
func (q *Queues) Follow(l shard.Lead) {
	if !l.Local || !l.Ready {
		delete(q.queues, l.Shard)
		return
	}
	if old := q.queues[l.Shard]; old == nil || old.epoch != l.Epoch {
		q.queues[l.Shard] = &queue{epoch: l.Epoch,
			queue: outbox.NewQueue(l.Shard, q.host.Reader(), outbox.DefaultLimits(), q.node.Luck)}
		q.Put(l.Shard, l.Epoch, outbox.Started{})
	}
}

// Put gives an input to a shard's queue, soon; to none when the epoch is over by then.
func (q *Queues) Put(s keys.Shard, epoch shard.Epoch, in outbox.Input) {
	q.node.Later(func() {
		if to := q.queues[s]; to != nil && to.epoch == epoch {
			q.step(s, to, in)
		}
	})
}

// Ring steps the queues of the shards up to last whose alarm has come, and says whether there was one.
func (q *Queues) Ring(last keys.Shard) (rung bool) {
	for s := keys.Meta; s <= last; s++ {
		if to := q.queues[s]; to != nil && to.alarmAt != 0 && to.alarmAt <= q.node.Milliseconds() {
			to.alarmAt, rung = 0, true
			q.step(s, to, outbox.Ticked{})
		}
	}
	return rung
}

func (q *Queues) step(s keys.Shard, to *queue, in outbox.Input) {
	outs, err := to.queue.Step(q.node.Milliseconds(), in)
	if err != nil {
		delete(q.queues, s)
		q.node.Broken(s, err)
		return
	}
	for _, out := range outs {
		switch out := out.(type) {
		case outbox.Deliver:
			q.node.Deliver(out.Row, func(err error) {
				if outbox.Final(err) {
					err = nil
				}
				q.Put(s, to.epoch, outbox.Delivered{Row: out.Row, Err: err})
			})
		case outbox.Propose:
			q.host.Propose(shard.Proposal{Shard: s, Epoch: to.epoch, Write: out.Write, Done: func(err error) {
				q.Put(s, to.epoch, outbox.Deleted{Err: err})
			}})
		case outbox.Alarm:
			to.alarmAt = out.At
		}
	}
}
