package runtime

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/fanout"
	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// The names under which nodes speak to each other about interest and fan-out.
const (
	interestReceiver = "interest"
	fanoutReceiver   = "fanout"
)

// interestWithin is how long one registration at another node may take: when that node is in
// trouble, the shard has a new leader about then, and thousands may wait to be registered.
const interestWithin = time.Second

// listen takes registrations from other edges, and batches for this one.
func (r *Runtime) listen() error {
	err := r.system.Listen(interestReceiver, func(msg proto.Message, respond func(proto.Message)) {
		if i, ok := msg.(*nodev1.Interest); ok {
			r.fanout.Interest(i, func(reply *nodev1.InterestReply) { respond(reply) })
		}
	})
	if err != nil {
		return fmt.Errorf("listen for interest: %w", err)
	}
	err = r.system.Listen(fanoutReceiver, func(msg proto.Message, respond func(proto.Message)) {
		if b, ok := msg.(*nodev1.FanoutBatch); ok {
			r.inbound.Deliver(b)
			respond(&nodev1.FanoutBatch{Feed: b.Feed}) // arrived: the next one may leave
		}
	})
	if err != nil {
		return fmt.Errorf("listen for fan-out: %w", err)
	}
	if err := r.system.Listen(nodeReceiver, r.onNode); err != nil {
		return fmt.Errorf("listen for other nodes: %w", err)
	}
	return nil
}

// interest brings a registration to the leader of its shard, here or elsewhere.
func (r *Runtime) interest(ctx context.Context, i *nodev1.Interest) (*nodev1.InterestReply, error) {
	lead := r.directory.Get(keys.ShardOf(i.ApplicationId, i.Id, r.shards))
	if lead.Node == "" {
		return nil, code.New(code.Unavailable, "nobody leads this shard at the moment; try again")
	}
	if !lead.Local {
		ctx, cancel := context.WithTimeout(ctx, interestWithin)
		defer cancel()
		answer, err := r.system.Request(ctx, lead.Node, interestReceiver, i)
		if err != nil {
			return nil, err
		}
		reply, ok := answer.(*nodev1.InterestReply)
		if !ok {
			return nil, code.New(code.Unavailable, "the leader of this shard gave no answer; try again")
		}
		if !reply.NotLeader && !i.Withdraw && !r.inbound.Registered(lead.Node, reply) {
			return nil, code.New(code.Unavailable, "the leader of this shard has forgotten this node since; try again")
		}
		return reply, nil
	}
	answer := make(chan *nodev1.InterestReply, 1) // for the one answer, also when nobody waits any more
	r.fanout.Interest(i, func(reply *nodev1.InterestReply) { answer <- reply })
	select {
	case reply := <-answer:
		return reply, nil
	case <-ctx.Done():
		return nil, code.New(code.Unavailable, "no answer came in time; try again")
	}
}

// head finds the last sequence of a conversation and the epoch in which that is true, by a query
// of this node; a user has no sequence.
func (r *Runtime) head(_ keys.Shard, application, entity string, done func(shard.Epoch, uint64, error)) {
	q := &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: application, Admin: true}}
	req := &nodev1.GrainRequest{ApplicationId: application, Id: entity, Query: q}
	if _, err := id.Parse(id.User, entity); err == nil {
		req.Kind, q.Body = nodev1.Kind_KIND_USER, &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}
	} else {
		req.Kind, q.Body = nodev1.Kind_KIND_CONVERSATION, &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}
	}
	r.queries.serve(req, func(reply *nodev1.GrainReply) {
		err := grain.CodedError(reply.Error)
		switch {
		case reply.NotLeader:
			err = shard.ErrNotLeader
		case code.Has(err, code.ConversationNotFound), code.Has(err, code.UserNotFound):
			err = fanout.ErrGone
		}
		done(shard.Epoch(reply.Epoch), reply.GetReply().GetHead().GetSequence(), err)
	})
}

// deliver sends a batch to another node's edge. A feed has one on its way, or, while it is idle, those of
// its beats that are not answered yet, which the time of a request ends: so the group holds a few of these
// for each other edge.
func (r *Runtime) deliver(edge string, b *nodev1.FanoutBatch, done func(error)) {
	r.group.Go(func() error {
		_, err := r.system.Request(r.ctx, edge, fanoutReceiver, b)
		done(err)
		return nil
	})
}
