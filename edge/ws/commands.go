package ws

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"parley/actors/api"
	actor "parley/actors/conversation"
	"parley/edge/dialect"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/receipt"
	clientv1 "parley/proto/client/v1"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// allow checks that a command names its conversation, that its client id is not too long, and
// that the token's list covers what REST would call by path.
func (c *conn) allow(method, conversation, clientID, rest string) error {
	if conversation == "" {
		return code.Invalid("conversation", "is required")
	}
	if len(clientID) > c.handler.options.ClientIDBytesMax {
		return code.Invalid("client_id", "is too long")
	}
	return c.claims.Allows(method, "/v1/conversations/"+conversation+rest)
}

// post hands an event to the cluster and goes on reading: a client may send many before the
// first ack, and they keep their order.
func (c *conn) post(id string, f *clientv1.Post) {
	if f.EventType == "" {
		c.refuse(id, code.Invalid("event_type", "is required"))
		return
	}
	if len(f.Body) == 0 {
		f.Body = []byte("{}")
	}
	if f.Body[0] != '{' {
		c.refuse(id, code.Invalid("body", "must be an object"))
		return
	}
	c.deliver(id, f.Conversation, f.ClientId, &nodev1.PostEvent{Type: f.EventType, To: f.To, Body: f.Body})
}

// typing is a post of its own kind.
func (c *conn) typing(id string, f *clientv1.Typing) {
	e := &nodev1.PostEvent{Type: "text:typing:off", Body: []byte(`{"activity":0}`)}
	if f.On {
		e = &nodev1.PostEvent{Type: "text:typing:on", Body: []byte(`{"activity":1}`)}
	}
	c.deliver(id, f.Conversation, "", e)
}

// deliver posts e if the limits allow.
func (c *conn) deliver(id, conversation, clientID string, e *nodev1.PostEvent) {
	h := c.handler
	err := c.allow(http.MethodPost, conversation, clientID, "/events")
	if err == nil {
		err = h.Limits.Allow(limit.Conversation, c.principal.ApplicationId+"/"+conversation, 1)
	}
	if err != nil {
		c.refuse(id, err)
		return
	}
	if int(c.inFlight.Add(1)) > h.options.PostsInFlight {
		c.inFlight.Add(-1)
		e := code.New(code.RateLimited, "%d posts wait for their ack; wait for one of them", h.options.PostsInFlight)
		e.RetryAfter = 100 * time.Millisecond
		c.refuse(id, e)
		return
	}
	h.Cluster.PostAsync(h.ctx, c.principal, conversation, clientID, e, func(r *nodev1.Reply, err error) {
		c.inFlight.Add(-1)
		if err != nil {
			c.refuse(id, err)
			return
		}
		c.ack(id, postAck(conversation, r))
	})
}

func postAck(conversation string, r *nodev1.Reply) *clientv1.Ack {
	a := &clientv1.Ack{Conversation: conversation, TimestampMs: r.GetTimestampMs(), Duplicate: r.GetDuplicate()}
	if e := r.GetEvent().GetEvent(); e != nil {
		a.Sequence, a.TimestampMs = e.GetSequence(), e.GetTimestampMs()
	}
	return a
}

func (c *conn) receipt(ctx context.Context, f *clientv1.Receipt) (*clientv1.Ack, error) {
	if err := c.allow(http.MethodPost, f.Conversation, "", "/events"); err != nil {
		return nil, err
	}
	if f.Delivered == 0 && f.Seen == 0 {
		return nil, code.Invalid("seen", "or delivered is required")
	}
	b := &bearer{conn: c, receipt: f, outcome: make(chan outcome, 1)}
	c.handler.Receipts.Post(receipt.Receipt{Principal: c.principal, Conversation: f.Conversation, Delivered: f.Delivered, Seen: f.Seen, Bearer: b})
	select {
	case o := <-b.outcome:
		if o.err != nil {
			return nil, o.err
		}
		return postAck(f.Conversation, o.reply), nil
	case <-ctx.Done():
		return nil, code.New(code.Unavailable, "the receipt could not be stored in time; try again")
	}
}

// bearer waits for what becomes of a receipt.
type bearer struct {
	conn    *conn
	receipt *clientv1.Receipt
	outcome chan outcome // room for the one there will be
}

type outcome struct {
	reply *nodev1.Reply
	err   error
}

// Alone implements receipt.Bearer.
func (b *bearer) Alone(done func(*nodev1.Reply, error)) {
	h := b.conn.handler
	h.Cluster.AdvanceCursor(h.ctx, b.conn.principal, b.receipt.Conversation,
		&nodev1.AdvanceCursor{Delivered: b.receipt.Delivered, Seen: b.receipt.Seen}, done)
}

// Done implements receipt.Bearer.
func (b *bearer) Done(reply *nodev1.Reply, err error) { b.outcome <- outcome{reply, err} }

// subscribe checks that the user may read, and learns the head in the same read.
func (c *conn) subscribe(ctx context.Context, id string, f *clientv1.Subscribe) error {
	if err := c.allow(http.MethodGet, f.Conversation, "", "/events"); err != nil {
		return err
	}
	leave, err := c.handler.Gate.Enter(ctx, gate.Subscribe)
	if err != nil {
		return err
	}
	defer leave()
	r, err := c.handler.Cluster.GetConversation(ctx, c.principal, f.Conversation, false)
	if err != nil {
		return err
	}
	if err := c.makeRoom(ctx, f.Conversation); err != nil {
		return err
	}
	head := r.GetHead().GetSequence()
	request := hub.Request{
		Application: c.principal.ApplicationId, Conversation: f.Conversation, User: c.principal.UserId,
		After: f.After, Head: head, Dialect: c.codec, To: c,
	}
	if id != "" {
		request.Ack = c.codec.Frame(nil, &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Ack{
			Ack: &clientv1.Ack{Id: id, Conversation: f.Conversation, Head: head}}})
	}
	s := c.handler.Hub.Subscribe(request)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscriptions == nil {
		c.subscriptions = map[string]*hub.Subscription{}
	}
	if !s.Over() {
		c.subscriptions[f.Conversation] = s
	}
	return nil
}

// makeRoom ends an earlier subscription to the same conversation and checks the limit.
func (c *conn) makeRoom(ctx context.Context, conversation string) error {
	c.mu.Lock()
	old, n := c.subscriptions[conversation], len(c.subscriptions)
	c.mu.Unlock()
	if old != nil {
		return c.drop(ctx, old, nil)
	}
	if n >= c.handler.options.Subscriptions {
		return code.New(code.RateLimited, "a connection has at most %d subscriptions", c.handler.options.Subscriptions)
	}
	return nil
}

func (c *conn) unsubscribe(ctx context.Context, id string, f *clientv1.Unsubscribe) error {
	c.mu.Lock()
	s := c.subscriptions[f.Conversation]
	c.mu.Unlock()
	if s == nil {
		return code.New(code.NotFound, "this connection has no subscription to %q", f.Conversation)
	}
	var ack []byte
	if id != "" {
		ack = c.codec.Frame(nil, &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Ack{
			Ack: &clientv1.Ack{Id: id, Conversation: f.Conversation}}})
	}
	return c.drop(ctx, s, ack)
}

// drop ends s and waits until its last bytes are queued, so that nothing of it can follow what
// the client asks next.
func (c *conn) drop(ctx context.Context, s *hub.Subscription, ack []byte) error {
	done := make(chan struct{})
	c.handler.Hub.Unsubscribe(s, ack, func() { close(done) })
	select {
	case <-done:
	case <-ctx.Done():
		return code.New(code.Unavailable, "the subscription could not be ended in time; try again")
	}
	c.Ended(s)
	return nil
}

func (c *conn) history(ctx context.Context, f *clientv1.History) (*clientv1.Ack, error) {
	if err := c.allow(http.MethodGet, f.Conversation, "", "/events"); err != nil {
		return nil, err
	}
	const usual, most = 20, 100
	if f.PageSize > most {
		return nil, code.Invalid("page_size", "must be at most 100")
	}
	if f.PageSize == 0 {
		f.PageSize = usual
	}
	r, err := c.handler.Cluster.ListEvents(ctx, c.principal, f.Conversation, &nodev1.ListEvents{
		Page:  &nodev1.Page{Size: f.PageSize, Descending: f.Descending, After: f.Cursor},
		Start: f.Start, End: f.End, Types: f.Types, ExcludeDeleted: f.ExcludeDeleted,
	})
	if err != nil {
		return nil, err
	}
	a := &clientv1.Ack{Conversation: f.Conversation, Head: r.GetHead().GetSequence(), Next: r.GetNext(),
		Events: make([]*clientv1.Event, 0, len(r.GetEvents()))}
	for _, v := range r.GetEvents() {
		a.Events = append(a.Events, dialect.Event(v))
	}
	return a, nil
}

func (c *conn) deleteEvent(ctx context.Context, f *clientv1.DeleteEvent) (*clientv1.Ack, error) {
	if err := c.allow(http.MethodDelete, f.Conversation, f.ClientId, "/events/"+strconv.FormatUint(f.Sequence, 10)); err != nil {
		return nil, err
	}
	r, err := c.handler.Cluster.DeleteEvent(ctx, c.principal, f.Conversation, f.ClientId, &nodev1.DeleteEvent{Sequence: f.Sequence})
	if err != nil {
		return nil, err
	}
	return postAck(f.Conversation, r), nil
}

func (c *conn) create(ctx context.Context, f *clientv1.CreateConversation) (*clientv1.Ack, error) {
	if err := c.claims.Allows(http.MethodPost, "/v1/conversations"); err != nil {
		return nil, err
	}
	if len(f.ClientId) > c.handler.options.ClientIDBytesMax {
		return nil, code.Invalid("client_id", "is too long")
	}
	made, head, err := c.handler.Cluster.CreateConversation(ctx, c.principal, f.ClientId,
		&eventv1.Conversation{Name: f.Name, DisplayName: f.DisplayName, ImageUrl: f.ImageUrl})
	if err != nil {
		return nil, err
	}
	return &clientv1.Ack{Conversation: made.GetId(), Name: made.GetName(), TimestampMs: made.GetCreatedMs(), Head: head.GetSequence()}, nil
}

func (c *conn) invite(ctx context.Context, f *clientv1.Invite) (*clientv1.Ack, error) {
	if err := c.allow(http.MethodPost, f.Conversation, f.ClientId, "/members"); err != nil {
		return nil, err
	}
	if f.UserId == "" && f.UserName == "" {
		return nil, code.Invalid("user_name", "or user_id is required")
	}
	r, err := c.handler.Cluster.AddMember(ctx, c.principal, f.Conversation, f.ClientId,
		api.UserRef{ID: f.UserId, Name: f.UserName},
		&nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_INVITE, Channel: []byte(actor.AppChannel)})
	if err != nil {
		return nil, err
	}
	return memberAck(f.Conversation, r), nil
}

func (c *conn) join(ctx context.Context, f *clientv1.Join) (*clientv1.Ack, error) {
	if err := c.allow(http.MethodPost, f.Conversation, f.ClientId, "/members"); err != nil {
		return nil, err
	}
	r, err := c.handler.Cluster.AddMember(ctx, c.principal, f.Conversation, f.ClientId, api.UserRef{},
		&nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(actor.AppChannel), MemberId: f.MemberId})
	if err != nil {
		return nil, err
	}
	return memberAck(f.Conversation, r), nil
}

func (c *conn) leave(ctx context.Context, f *clientv1.Leave) (*clientv1.Ack, error) {
	member := f.MemberId
	if member == "" {
		member = "me"
	}
	if err := c.allow(http.MethodPatch, f.Conversation, f.ClientId, "/members/"+member); err != nil {
		return nil, err
	}
	u := &nodev1.UpdateMember{MemberId: member, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}
	if f.Reason != "" {
		const reasonMax = 256
		if len(f.Reason) > reasonMax {
			return nil, code.Invalid("reason", "is too long")
		}
		reason, err := json.Marshal(map[string]string{"text": f.Reason})
		if err != nil {
			return nil, err
		}
		u.Reason = reason
	}
	r, err := c.handler.Cluster.UpdateMember(ctx, c.principal, f.Conversation, f.ClientId, u)
	if err != nil {
		return nil, err
	}
	return memberAck(f.Conversation, r), nil
}
