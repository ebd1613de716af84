package cluster

import (
	"errors"
	"time"

	"parley/actors/grain"
	"parley/actors/query"
	"parley/cluster/shard"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

var errSilent = errors.New("no answer came in time")

// ask sends a message to a node, which may be this one, and waits for the answer. Without one, done
// hears errSilent: the message may have arrived. done is called once, unless this node dies.
func (n *node) ask(to string, within time.Duration, serve func(at *node, respond func(any)), done func(any, error)) {
	over := false
	n.w.net.message(n, to, func(at *node) {
		serve(at, func(reply any) {
			n.w.net.message(at, n.name, func(*node) {
				if !over {
					over = true
					done(reply, nil)
				}
			})
		})
	})
	n.after(within, func() {
		if !over {
			over = true
			done(nil, errSilent)
		}
	})
}

// The times of a call, as in a running node.
const (
	callWithin    = 4 * time.Second
	attemptWithin = 500 * time.Millisecond
)

// call is one question of this node's edge or outbox to a grain, or to the state of one.
type call struct {
	n          *node
	req        *nodev1.GrainRequest
	deadline   time.Duration
	pause      time.Duration
	repeatable bool
	maybe      bool // an attempt may have been carried out
	done       func(*nodev1.GrainReply, error)
}

// call brings a request to the leader of its shard, and again until somebody answers who leads.
// done hears the answer, or code.Unknown when it may have been carried out, else code.Unavailable.
func (n *node) call(req *nodev1.GrainRequest, done func(*nodev1.GrainReply, error)) {
	c := &call{n: n, req: req, deadline: n.w.now + callWithin, pause: 5 * time.Millisecond, done: done}
	switch req.GetCommand().GetBody().(type) {
	case *nodev1.Command_AdvanceCursor, *nodev1.Command_AdvanceCursors, *nodev1.Command_IndexMembership, *nodev1.Command_UserChanged, *nodev1.Command_ConfirmName,
		*nodev1.Command_ReleaseName, *nodev1.Command_PutStore, *nodev1.Command_SetStore, *nodev1.Command_FoundPlacement,
		*nodev1.Command_CreateUser, *nodev1.Command_CreateConversation:
		c.repeatable = true
	default:
		c.repeatable = req.Command == nil || req.Command.ClientId != ""
	}
	c.attempt()
}

func (c *call) attempt() {
	w := c.n.w
	lead := c.n.directory.Get(grain.Place(c.req.Kind, c.req.ApplicationId, c.req.Id, shards))
	if w.now >= c.deadline {
		c.expire()
		return
	}
	if lead.Node == "" || lead.Local && !lead.Ready {
		c.again()
		return
	}
	c.n.ask(lead.Node, attemptWithin, func(at *node, respond func(any)) {
		at.serve(c.req, func(r *nodev1.GrainReply) { respond(r) })
	}, c.answered)
}

func (c *call) answered(reply any, err error) {
	switch r, _ := reply.(*nodev1.GrainReply); {
	case err != nil:
		c.maybe = true
		if !c.repeatable {
			c.expire()
			return
		}
		c.again()
	case r.NotLeader:
		c.again()
	case r.Error.GetCode() == string(code.Unknown) && c.repeatable:
		c.maybe = true
		c.again()
	default:
		err = grain.CodedError(r.Error)
		if c.maybe && c.req.Command != nil && (code.Has(err, code.NotStored) || code.Has(err, code.Unavailable)) {
			err = code.New(code.Unknown, "this attempt did nothing; an earlier one may have") // as package system says
		}
		c.done(r, err)
	}
}

func (c *call) again() {
	c.pause = min(2*c.pause, 100*time.Millisecond)
	c.n.after(c.pause/2+time.Duration(c.n.w.rng.Int64N(int64(c.pause))), c.attempt)
}

func (c *call) expire() {
	if c.maybe && c.req.Command != nil {
		c.done(nil, code.New(code.Unknown, "no answer"))
		return
	}
	c.done(nil, code.New(code.Unavailable, "no leader"))
}

// serve is the leader's side of a call: a command goes to its grain, a question waits for a read
// index and reads.
func (n *node) serve(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	s := grain.Place(req.Kind, req.ApplicationId, req.Id, shards)
	if req.Query == nil {
		n.command(s, req, respond)
		return
	}
	n.stepper.ReadIndex(s, func(epoch shard.Epoch, err error) {
		if err != nil {
			respond(&nodev1.GrainReply{NotLeader: true})
			return
		}
		n.after(n.w.little(), func() { // a worker reads
			reply := query.Serve(n.store.Reader(), shards, req)
			reply.Epoch = uint64(epoch)
			respond(reply)
		})
	})
	n.wake()
}
