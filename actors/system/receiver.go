package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// reply sends the answer to a request of another node.
func (s *System) reply(to *actor.PID, msg proto.Message) {
	if err := checkEnvelope(msg); err != nil {
		s.metrics.drop(dropTooLarge)
		s.o.Logger.Warn("reply not sent", "error", err)
		if _, ok := msg.(*nodev1.GrainReply); !ok {
			return
		}
		msg = refusal(code.TooLarge, "The answer is too large. Ask for less.")
	}
	s.send(to, msg, nil)
}

// queries takes reads from other nodes, on the goroutine that brought them.
type queries struct{ s *System }

// SendUserMessage implements actor.Process.
func (q *queries) SendUserMessage(_ *actor.PID, message any) {
	_, msg, sender := actor.UnwrapEnvelope(message)
	req, ok := msg.(*nodev1.GrainRequest)
	if !ok || sender == nil || req.Query == nil {
		q.s.metrics.drop(dropForbidden)
		return
	}
	in := &inbound{s: q.s, req: req, sender: sender}
	if q.s.admit(in) && in.claim() {
		q.s.o.Querier(req, in.respond)
	}
}

// SendSystemMessage implements actor.Process.
func (*queries) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process.
func (*queries) Stop(*actor.PID) {}

// Listen makes handle the receiver of what nodes, this one included, Send or Request under name.
// It is called for one message at a time, in the order of each sender; it must not block. respond
// may be called once, now or later, from any goroutine; for what was sent by Send it does nothing.
// Messages are shared: read only. Listen fails when the name is taken.
func (s *System) Listen(name string, handle func(msg proto.Message, respond func(proto.Message))) error {
	if s.closed.Load() {
		return fmt.Errorf("listen %s: %w", name, errClosed)
	}
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		msg, ok := ctx.Message().(proto.Message)
		if !ok || checkEnvelope(msg) != nil {
			return // a life-cycle message of the actor
		}
		sender := ctx.Sender()
		handle(msg, func(reply proto.Message) {
			if sender != nil {
				s.reply(sender, reply)
			}
		})
	})
	pid, err := s.actors.Root.SpawnNamed(props, receiverPrefix+name)
	if err != nil {
		return fmt.Errorf("listen %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receivers = append(s.receivers, pid)
	return nil
}

// stopReceivers returns when no handler runs any more.
func (s *System) stopReceivers() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, pid := range s.receivers {
		errs = append(errs, s.actors.Root.PoisonFuture(pid).Wait())
	}
	return errors.Join(errs...)
}

// receiver finds a named receiver.
func (s *System) receiver(node, name string, msg proto.Message) (*actor.PID, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if err := checkEnvelope(msg); err != nil {
		return nil, err
	}
	if err := s.gated(msg); err != nil {
		return nil, err
	}
	addr := s.dir.Addr(node)
	if addr == "" {
		return nil, code.New(code.Unavailable, "The address of node %s is not known.", node)
	}
	if s.peers.refuses(addr, time.Now()) {
		s.metrics.drop(dropUnavailable)
		return nil, code.New(code.Unavailable, "Node %s cannot be reached.", node)
	}
	return actor.NewPID(addr, receiverPrefix+name), nil
}

// gated refuses what not every member of the cluster understands yet.
func (s *System) gated(msg proto.Message) error {
	req, ok := msg.(*nodev1.GrainRequest)
	if !ok || s.o.Gate == nil {
		return nil
	}
	return s.o.Gate.Check(req)
}

// Send hands msg, one of the closed set, to a node's receiver of that name. It arrives at most
// once; what one goroutine sends arrives in order, with holes when a connection breaks. The
// queue to a peer is not bounded: the caller bounds what is not acknowledged.
func (s *System) Send(node, name string, msg proto.Message) error {
	pid, err := s.receiver(node, name, msg)
	if err != nil {
		return fmt.Errorf("send to %s at %s: %w", name, node, err)
	}
	s.send(pid, msg, nil)
	return nil
}

// Request is Send with an answer. It is tried once: an error says that no answer came until ctx
// ended, Options.CallTimeout at most, or that the way is gone; the request may have arrived.
func (s *System) Request(ctx context.Context, node, name string, msg proto.Message) (proto.Message, error) {
	pid, err := s.receiver(node, name, msg)
	if err != nil {
		return nil, fmt.Errorf("request to %s at %s: %w", name, node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.CallTimeout)
	defer cancel()
	r := &request{s: s, ctx: ctx, addr: pid.Address, losses: s.peers.losses(pid.Address), answer: make(chan proto.Message, 1)}
	id, ok := s.caller.register(r)
	if !ok {
		return nil, errClosed
	}
	s.send(pid, msg, s.caller.replyTo(id))
	select {
	case m := <-r.answer:
		if m == nil {
			return nil, code.New(code.Unavailable, "Node %s did not answer.", node)
		}
		return m, nil
	case <-ctx.Done():
		s.caller.table.take(id)
		return nil, code.New(code.Unavailable, "Node %s did not answer in time.", node)
	}
}

// request is one Request in the table.
type request struct {
	s      *System
	ctx    context.Context // of the requester, for its end alone
	addr   string
	losses uint64
	answer chan proto.Message // capacity 1, for the one answer; nil = there will be none
}

// replied implements waiter.
func (r *request) replied(msg any) {
	switch m := msg.(type) {
	case *actor.DeadLetterResponse:
		r.s.metrics.drop(dropUnheard)
		r.answer <- nil
	case proto.Message:
		r.answer <- m
	default:
		r.answer <- nil
	}
}

// due implements waiter.
func (r *request) due(v *review) bool {
	return r.ctx.Err() != nil || r.s.peers.losses(r.addr) != r.losses || r.s.peers.refuses(r.addr, v.now)
}

// act implements waiter.
func (r *request) act(*review) { r.answer <- nil }

// rank implements waiter: a request that ends makes no further attempt, so its order is no matter.
func (r *request) rank() uint64 { return 0 }

// end implements waiter.
func (r *request) end() { r.answer <- nil }
