package ws

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"parley/edge/auth"
	"parley/edge/dialect"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/socket"
	clientv1 "parley/proto/client/v1"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// conn is one native connection: from hello on, one session of one user.
type conn struct {
	// Fixed at open.
	handler *Handler
	socket  *socket.Conn
	address string // where the client is, without the port
	codec   codec

	// Owned by the reader. Set by hello, all at once; claims change with update_token.
	claims    *auth.Claims
	principal *nodev1.Principal
	session   hub.Session
	feed      *hub.Subscription // of the user
	refusals  int               // frames in a row over the rate

	inFlight atomic.Int32 // posts without an ack
	revoked  atomic.Bool  // what the client still sends is not read

	line hub.Line // the hub's

	mu            sync.Mutex
	subscriptions map[string]*hub.Subscription // guarded by mu; by conversation
}

// Message implements socket.Handler: the path of every frame.
func (c *conn) Message(binary bool, payload []byte) {
	if c.revoked.Load() {
		return // the close frame is on its way
	}
	f, err := c.codec.decode(binary, payload)
	switch {
	case errors.Is(err, errUnknownFrame):
		c.refuse(f.Id, code.Invalid("type", "is not a frame of this protocol"))
		return
	case err != nil:
		c.refuse("", code.New(code.ValidationFail, "malformed frame: %s", err))
		c.socket.Close(socket.Malformed)
		return
	case len(f.Id) > c.handler.options.RequestIDMax:
		c.refuse("", code.Invalid("id", "is too long"))
		return
	}
	if c.claims == nil {
		c.beforeHello(f)
		return
	}
	if err := c.handler.Limits.Allow(limit.Connection, c.session.ID, 1); err != nil {
		c.overRate(f.Id, err)
		return
	}
	c.refusals = 0
	c.dispatch(f)
}

// overRate refuses a frame. A client that does not listen is not answered for ever.
func (c *conn) overRate(id string, err error) {
	c.refusals++
	c.refuse(id, err)
	if c.refusals >= c.handler.options.RefusalsMax {
		c.socket.Close(socket.Overloaded)
	}
}

// dispatch is the protocol's table of contents. What waits for the cluster runs apart.
func (c *conn) dispatch(f *clientv1.ClientFrame) {
	switch b := f.Body.(type) {
	case *clientv1.ClientFrame_Post:
		c.post(f.Id, b.Post)
	case *clientv1.ClientFrame_Typing:
		c.typing(f.Id, b.Typing)
	case *clientv1.ClientFrame_Ping:
		c.pong(f.Id)
	case *clientv1.ClientFrame_Receipt:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.receipt(ctx, b.Receipt) })
	case *clientv1.ClientFrame_Subscribe:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return nil, c.subscribe(ctx, f.Id, b.Subscribe) })
	case *clientv1.ClientFrame_Unsubscribe:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return nil, c.unsubscribe(ctx, f.Id, b.Unsubscribe) })
	case *clientv1.ClientFrame_History:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.history(ctx, b.History) })
	case *clientv1.ClientFrame_DeleteEvent:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.deleteEvent(ctx, b.DeleteEvent) })
	case *clientv1.ClientFrame_CreateConversation:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.create(ctx, b.CreateConversation) })
	case *clientv1.ClientFrame_Invite:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.invite(ctx, b.Invite) })
	case *clientv1.ClientFrame_Join:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.join(ctx, b.Join) })
	case *clientv1.ClientFrame_Leave:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.leave(ctx, b.Leave) })
	case *clientv1.ClientFrame_UpdateToken:
		c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) { return c.updateToken(ctx, b.UpdateToken) })
	case *clientv1.ClientFrame_Bye:
		// Before the close frame, behind which the client may come again at once.
		c.handler.Hub.CloseSession(c.session.ID, c, true)
		c.socket.Close(socket.Bye)
	case *clientv1.ClientFrame_Hello:
		c.refuse(f.Id, code.New(code.SessionInvalid, "this connection has said hello already"))
		c.socket.Close(socket.Protocol)
	}
}

// apart runs a command on a goroutine of its own while the reader waits: the depth of the call
// then does not stay with the reader as a large stack for the life of the connection. A nil ack
// without error was sent by the command itself.
func (c *conn) apart(id string, command func(ctx context.Context) (*clientv1.Ack, error)) {
	done := make(chan struct{})
	c.handler.group.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(c.handler.ctx, c.handler.options.CommandWithin)
		defer cancel()
		ack, err := command(ctx)
		switch {
		case err != nil:
			c.refuse(id, err)
		case ack != nil:
			c.ack(id, ack)
		}
	})
	<-done
}

// Closed implements socket.Handler.
func (c *conn) Closed() {
	if c.claims == nil {
		return
	}
	c.mu.Lock()
	subscriptions := c.subscriptions
	c.subscriptions = nil
	c.mu.Unlock()
	for _, s := range subscriptions {
		c.handler.Hub.Abandon(s)
	}
	c.handler.Hub.Abandon(c.feed)
	c.handler.Hub.CloseSession(c.session.ID, c, false)
}

// Send implements hub.Subscriber.
func (c *conn) Send(frame []byte) { c.socket.Send(frame) }

// SendNow implements hub.Subscriber.
func (c *conn) SendNow(frame []byte) { c.socket.SendNow(frame) }

// Offer implements hub.Paced.
func (c *conn) Offer(frames []byte, ready func()) bool { return c.socket.Offer(frames, ready) }

// Line implements hub.Paced.
func (c *conn) Line() *hub.Line { return &c.line }

// Membership implements hub.Follower. The frame that says so is the hub's.
func (c *conn) Membership(*nodev1.MembershipChange) {}

// Missed implements hub.Follower.
func (c *conn) Missed() {
	c.send(&clientv1.ServerFrame{Body: &clientv1.ServerFrame_Refetch{Refetch: &clientv1.Refetch{}}})
}

// Ended implements hub.Subscriber.
func (c *conn) Ended(s *hub.Subscription) {
	c.mu.Lock()
	if c.subscriptions[s.Conversation()] == s {
		delete(c.subscriptions, s.Conversation())
	}
	c.mu.Unlock()
	if s.Conversation() == c.principal.UserId {
		c.socket.Close(socket.Terminated) // the user is gone
	}
}

// Replaced implements hub.Replaced: the session was resumed on another connection.
func (c *conn) Replaced() { c.socket.Close(socket.SessionReplaced) }

// Revoke implements hub.Revocable.
func (c *conn) Revoke(gone bool) {
	c.revoked.Store(true)
	if gone {
		c.socket.Close(socket.Terminated)
		return
	}
	c.socket.Close(socket.TokenExpired)
}

// send writes a frame to this connection alone.
func (c *conn) send(f *clientv1.ServerFrame) { c.socket.Send(c.codec.Frame(nil, f)) }

// ack answers a request that wants an answer.
func (c *conn) ack(id string, a *clientv1.Ack) {
	if id != "" {
		a.Id = id
		c.send(&clientv1.ServerFrame{Body: &clientv1.ServerFrame_Ack{Ack: a}})
	}
}

func (c *conn) pong(id string) {
	c.send(&clientv1.ServerFrame{Body: &clientv1.ServerFrame_Pong{
		Pong: &clientv1.Pong{Id: id, TimestampMs: time.Now().UnixMilli()}}})
}

// refuse answers with a coded error. The cause of an uncoded one goes to the log alone.
func (c *conn) refuse(id string, err error) {
	e, ok := code.Of(err)
	if !ok {
		c.handler.options.Logger.Error("command failed", "session", c.session.ID, "error", err)
		e = code.New(code.Internal, "the server failed to do this; try again with the same client_id")
	}
	out := &clientv1.Error{Id: id, Code: string(e.Code), Message: e.Message,
		RetryAfterMs: e.RetryAfter.Milliseconds(), Recovery: recovery(e.Code)}
	for _, field := range e.Fields {
		out.Fields = append(out.Fields, &clientv1.Field{Name: field.Name, Reason: field.Reason})
	}
	c.send(&clientv1.ServerFrame{Body: &clientv1.ServerFrame_Error{Error: out}})
}

// recovery is what a client should do about a code.
func recovery(c code.Code) string {
	if c.Passing() {
		return "retry"
	}
	switch c {
	case code.InvalidToken, code.ExpiredToken, code.MissingToken, code.SessionInvalid:
		return "login"
	case code.MemberAlreadyJoined, code.MemberAlreadyInvited, code.InvalidMemberState, code.EventNotJoined, code.MemberNotFound:
		return "refetch"
	}
	return "stop"
}

// member is the wire form of a reply's member, with the sequence of its event.
func memberAck(conversation string, r *nodev1.Reply) *clientv1.Ack {
	return &clientv1.Ack{
		Conversation: conversation, Member: dialect.Member(r.GetMember()), Duplicate: r.GetDuplicate(),
		Sequence: r.GetEvent().GetEvent().GetSequence(), TimestampMs: r.GetEvent().GetEvent().GetTimestampMs(),
	}
}
