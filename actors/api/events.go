package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/query"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Post implements Events.
func (s *Service) Post(ctx context.Context, p *nodev1.Principal, conv, clientID string, e *nodev1.PostEvent) (*nodev1.Reply, error) {
	return s.inConversation(ctx, conv, &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_PostEvent{PostEvent: e},
	})
}

// PostAsync implements Events.
func (s *Service) PostAsync(ctx context.Context, p *nodev1.Principal, conv, clientID string, e *nodev1.PostEvent, done func(*nodev1.Reply, error)) {
	s.inConversationAsync(ctx, conv, &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_PostEvent{PostEvent: e},
	}, done)
}

// AdvanceCursors implements Events.
func (s *Service) AdvanceCursors(ctx context.Context, application, conv string, cursors []*nodev1.UserCursor, done func(*nodev1.Reply, error)) {
	if s.options.Gate != nil && !s.options.Gate.Allows("Command.advance_cursors") {
		done(&nodev1.Reply{Cursors: &nodev1.AdvancedCursors{Apart: true}}, nil)
		return
	}
	s.inConversationAsync(ctx, conv, &nodev1.Command{
		Principal: node(application), Body: &nodev1.Command_AdvanceCursors{AdvanceCursors: &nodev1.AdvanceCursors{Cursors: cursors}},
	}, done)
}

// inConversationAsync is inConversation without waiting.
func (s *Service) inConversationAsync(ctx context.Context, conv string, c *nodev1.Command, done func(*nodev1.Reply, error)) {
	if !isConversation(conv) {
		done(nil, errConversation())
		return
	}
	t := conversation(c.Principal, conv)
	req := &nodev1.GrainRequest{Kind: t.kind, ApplicationId: t.application, Id: t.id, Command: c}
	if err := s.refuseDeleted(req); err != nil {
		done(nil, err)
		return
	}
	if _, ok := ctx.Deadline(); !ok {
		ctx = until{ctx, time.Now().Add(s.options.Timeout)}
	}
	s.options.Caller.AskAsync(ctx, req, func(reply *nodev1.GrainReply, err error) {
		done(result(req, reply, err))
	})
}

// until gives a context a deadline and no timer: the caller that AskAsync hands it to looks at
// the clock for all calls together. A timer for each post would also make all connections of a
// node wait for the lock of the context that they share.
type until struct {
	context.Context
	deadline time.Time
}

// Deadline implements context.Context.
func (u until) Deadline() (time.Time, bool) { return u.deadline, true }

// DeleteEvent implements Events.
func (s *Service) DeleteEvent(ctx context.Context, p *nodev1.Principal, conv, clientID string, d *nodev1.DeleteEvent) (*nodev1.Reply, error) {
	return s.inConversation(ctx, conv, &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_DeleteEvent{DeleteEvent: d},
	})
}

// AdvanceCursor implements Events.
func (s *Service) AdvanceCursor(ctx context.Context, p *nodev1.Principal, conv string, c *nodev1.AdvanceCursor, done func(*nodev1.Reply, error)) {
	s.inConversationAsync(ctx, conv, &nodev1.Command{Principal: p, Body: &nodev1.Command_AdvanceCursor{AdvanceCursor: c}}, done)
}

// inConversation asks a conversation to change something within it.
func (s *Service) inConversation(ctx context.Context, conv string, c *nodev1.Command) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	return s.command(ctx, conversation(c.Principal, conv), c)
}

// ofConversation asks a conversation for something within it.
func (s *Service) ofConversation(ctx context.Context, conv string, q *nodev1.Query) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	return s.query(ctx, conversation(q.Principal, conv), q)
}

// GetEvent implements Events.
func (s *Service) GetEvent(ctx context.Context, p *nodev1.Principal, conv string, sequence uint64) (*nodev1.EventView, error) {
	reply, err := s.ofConversation(ctx, conv, &nodev1.Query{
		Principal: p, Body: &nodev1.Query_GetEvent{GetEvent: &nodev1.GetEvent{Sequence: sequence}},
	})
	if err != nil {
		return nil, err
	}
	if reply.Event == nil {
		return nil, code.New(code.EventNotFound, "Event does not exist.")
	}
	return reply.Event, nil
}

// ListEvents implements Events.
func (s *Service) ListEvents(ctx context.Context, p *nodev1.Principal, conv string, l *nodev1.ListEvents) (*nodev1.Reply, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	ask := func(page *nodev1.Page) (*nodev1.Reply, error) {
		l := proto.CloneOf(l)
		l.Page = page
		return s.ofConversation(ctx, conv, &nodev1.Query{Principal: p, Body: &nodev1.Query_ListEvents{ListEvents: l}})
	}
	if bytesMax := l.GetBytesMax(); bytesMax > 0 && bytesMax <= query.BytesMax {
		return ask(l.GetPage()) // one answer is what was asked for
	}
	return gather(l.GetPage(), bytesOf(l), ask)
}

// bytesOf is how many bytes of events a call gives.
func bytesOf(l *nodev1.ListEvents) int {
	if l.GetBytesMax() == 0 {
		return BytesMax
	}
	return int(min(l.GetBytesMax(), BytesMax))
}
