package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"parley/edge/dialect/nexmo"
	"parley/edge/engineio"
	"parley/edge/limit"
	"parley/edge/socket"
	"parley/proto/code"
)

// conn is one connection of an SDK. It outlives the sessions on it: at /rtc/ a client may log out
// and in again, or log in anew while it is logged in.
type conn struct {
	// Fixed at open.
	handler *Handler
	wire    *engineio.Conn
	peer    string        // the client's address
	query   *query        // of /v2/rtc/; nil at /rtc/
	posts   chan struct{} // a place for each post without answer

	// Owned by Message, one at a time.
	connected bool // to the namespace

	mu      sync.Mutex
	session *session   // guarded by mu; nil = not logged in
	lapsed  *session   // guarded by mu; ended because its token did
	held    []*request // guarded by mu; waiting for a login
	bytes   int        // guarded by mu; of those
	holdBy  time.Time  // guarded by mu; until then, zero = none
	loginBy time.Time  // guarded by mu; zero = logged in
	closed  bool       // guarded by mu
}

// query is what the handshake of /v2/rtc/ says.
type query struct {
	token, session, device string
	acks                   bool
	generation             nexmo.Generation
}

// Message implements engineio.Handler: the path of every packet.
func (c *conn) Message(content []byte) {
	p, err := parse(content)
	if err != nil || len(content) > c.handler.options.EventBytesMax {
		c.malformed()
		return
	}
	if p.namespace != "/" {
		c.refuseNamespace(p)
		return
	}
	switch p.kind {
	case typeConnect:
		c.connect()
	case typeDisconnect:
		c.wire.Close(socket.Bye)
	case typeEvent:
		c.event(p)
	case typeAck:
		c.acknowledged(p)
	}
}

// malformed gives up a client that does not speak the protocol.
func (c *conn) malformed() {
	c.handler.metrics.malformed.Inc()
	c.wire.Close(socket.Malformed)
}

// refuseNamespace says that only the default namespace exists.
func (c *conn) refuseNamespace(p packet) {
	if p.kind != typeConnect {
		return
	}
	reason := `"Invalid namespace"`
	if c.wire.Version() >= 4 {
		reason = `{"message":"Invalid namespace"}`
	}
	c.wire.Send(controlFrame(typeConnectError, p.namespace+","+reason))
}

// connect opens the default namespace, which a version 4 client asks for. At /v2/rtc/ the login
// follows at once: its answer is the first event.
func (c *conn) connect() {
	if c.connected {
		return // repeated, or an older client that was connected unasked
	}
	c.connected = true
	sid, err := json.Marshal(map[string]string{"sid": socketID()})
	if err != nil {
		sid = []byte("{}")
	}
	c.wire.Send(controlFrame(typeConnect, string(sid)))
	if c.query != nil {
		c.mu.Lock()
		c.loginBy = time.Time{} // it has asked in time; the rest is for the node to do, in bounded time
		c.mu.Unlock()
		c.apart(func(context.Context) { c.loginByQuery() })
	}
}

// event takes a request.
func (c *conn) event(p packet) {
	if !c.connected {
		c.malformed()
		return
	}
	o := &c.handler.options
	r, err := readRequest(p.data, o.JSONDepth, o.JSONMembers)
	if err != nil {
		c.malformed()
		return
	}
	// The packet's bytes are lent; a request may be held.
	r.rid, r.body = bytes.Clone(r.rid), bytes.Clone(r.body)
	if p.hasAck {
		c.wire.Send(controlFrame(typeAck, ackOf(p.ack)))
	}
	c.take(r)
}

// updateToken is the request that moves the end of a session.
const updateToken = "session:update-token"

// take carries a request out, now or after a login.
func (c *conn) take(r *request) {
	switch r.kind {
	case "session:login":
		c.apart(func(context.Context) { c.loginByEvent(r) })
		return
	case updateToken:
		if _, wait := c.loggedIn(r); !wait {
			c.apart(func(ctx context.Context) { c.updateToken(ctx, r) })
		}
		return
	case "session:logout":
		c.apart(func(context.Context) { c.logout(r) })
		return
	}
	s, wait := c.loggedIn(r)
	switch {
	case wait:
	case s == nil:
		c.refuseStranger(r)
	default:
		c.serve(s, r)
	}
}

// serve carries out the request of a session.
func (c *conn) serve(s *session, r *request) {
	if err := c.handler.Limits.Allow(limit.Connection, s.id, 1); err != nil {
		c.refuse(r, s, err)
		return
	}
	if run := actions[r.kind]; run != nil {
		c.apart(func(ctx context.Context) { c.answer(ctx, s, r, run) })
		return
	}
	if err := unavailable(r.kind); err != nil {
		c.refuse(r, s, err)
		return
	}
	c.post(s, r)
}

// loggedIn gives the session of a request; wait = the request is held until there is one.
func (c *conn) loggedIn(r *request) (s *session, wait bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		return c.session, false
	}
	if c.lapsed != nil || c.query != nil || c.closed || !c.hold(r) {
		return nil, false
	}
	if c.holdBy.IsZero() {
		c.holdBy = time.Now().Add(c.handler.options.HoldWithin)
		c.wire.Wake(c.holdBy)
	}
	return nil, true
}

// hold keeps a request until the login, if there is room: clients send what they have buffered right after
// reconnecting, before they log in again. Guarded by mu.
func (c *conn) hold(r *request) bool {
	const overhead = 512 // what a request takes besides its bytes, at most
	o, size := &c.handler.options, overhead+len(r.kind)+len(r.rid)+len(r.cid)+len(r.from)+len(r.to)+len(r.body)
	if len(c.held) >= o.HeldMax || c.bytes+size > o.HeldBytesMax {
		return false
	}
	if c.handler.held.Add(int64(size)) > int64(o.HeldBytesNode) {
		c.handler.held.Add(-int64(size))
		return false
	}
	c.held, c.bytes = append(c.held, r), c.bytes+size
	return true
}

// letGo gives the requests that are held, which are not any more. Guarded by mu.
func (c *conn) letGo() []*request {
	held := c.held
	c.handler.held.Add(-int64(c.bytes))
	c.held, c.bytes, c.holdBy = nil, 0, time.Time{}
	return held
}

// refuseStranger answers a request without session.
func (c *conn) refuseStranger(r *request) {
	c.mu.Lock()
	expired := c.lapsed != nil
	c.mu.Unlock()
	if expired {
		c.refuse(r, nil, code.New(code.ExpiredToken, "the session's token has expired; log in again or update the token"))
		return
	}
	c.handler.metrics.held.Inc()
	c.refuse(r, nil, code.New(code.SessionInvalid, "log in first"))
}

// release gives the requests that waited for a login.
func (c *conn) release() []*request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.letGo()
}

// apart runs f on a goroutine of its own while the reader waits: the depth of the call then does
// not stay with the reader as a large stack for the life of the connection.
func (c *conn) apart(f func(ctx context.Context)) {
	done := make(chan struct{})
	ok := c.handler.spawn(func() {
		defer close(done)
		ctx, cancel := c.handler.command()
		defer cancel()
		f(ctx)
	})
	if ok {
		<-done
	}
}

// Due implements engineio.Handler: requests that waited too long for a login, connections that
// never log in, tokens that end, and what is to be tried again.
func (c *conn) Due(now time.Time) time.Time {
	c.mu.Lock()
	var late []*request
	if !c.holdBy.IsZero() && !now.Before(c.holdBy) {
		late = c.letGo()
	}
	s, next := c.session, c.holdBy
	idle := !c.loginBy.IsZero() && !now.Before(c.loginBy)
	if !idle {
		next = engineio.Earlier(next, c.loginBy)
	}
	c.mu.Unlock()
	for _, r := range late {
		c.refuseStranger(r)
	}
	if idle {
		c.wire.Close(socket.LoginTimeout)
	}
	if s == nil {
		return next
	}
	return engineio.Earlier(next, s.due(now))
}

// Closed implements engineio.Handler.
func (c *conn) Closed() {
	c.mu.Lock()
	c.closed = true
	s := c.session
	c.session = nil
	c.letGo()
	c.mu.Unlock()
	if s != nil {
		s.close(false)
	}
}

// acknowledged notes that the client has an event.
func (c *conn) acknowledged(p packet) {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s != nil && p.hasAck {
		c.handler.metrics.acks.Inc()
		s.acknowledged(p.ack)
	}
}
