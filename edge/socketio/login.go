package socketio

import (
	"context"
	"encoding/json"
	"time"

	"parley/edge/auth"
	"parley/edge/dialect/nexmo"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/socket"
	"parley/proto/code"
)

// welcome is the body of session:success.
type welcome struct {
	ID            string            `json:"id"`
	UserID        string            `json:"user_id"`
	Name          string            `json:"name"`
	APIKey        string            `json:"api_key"` // the newest SDK insists on one
	ApplicationID string            `json:"application_id"`
	Pending       []json.RawMessage `json:"pending_events,omitempty"`
}

// wish is how a client wants to log in.
type wish struct {
	token, session, device string
	dialect                nexmo.Dialect
}

// loginByQuery logs in with the handshake's query. A refusal is the first event, and the last, after which
// these SDKs do not come back by themselves. So one that is about this moment alone is not told: the
// connection is lost, and they try again in two seconds.
func (c *conn) loginByQuery() {
	q := c.query
	r := &request{kind: "session:login"}
	ctx, cancel := c.handler.loggingIn()
	defer cancel()
	err := c.login(ctx, r, wish{q.token, q.session, q.device, nexmo.Dialect{Generation: q.generation, Acks: q.acks}})
	if err == nil {
		return
	}
	refused, coded := code.Of(err)
	if coded && !refused.Code.Passing() {
		c.refuse(r, nil, err)
		c.wire.Send(controlFrame(typeDisconnect, ""))
		c.wire.Close(socket.LoginRefused)
		return
	}
	if !coded {
		c.handler.options.Logger.Error("login failed", "error", err)
	}
	c.wire.Close(socket.Overloaded)
}

// loginByEvent logs in at /rtc/. A refusal leaves the connection open for another try, whatever it is
// about: most of these SDKs have forgotten their token by now, and would come back to a lost connection
// without a login.
func (c *conn) loginByEvent(r *request) {
	generation := nexmo.GenerationOf(r.field("SDK_version"))
	ctx, cancel := c.handler.loggingIn()
	defer cancel()
	err := c.login(ctx, r, wish{
		token: r.field("token"), device: r.field("device_id"), dialect: nexmo.Dialect{Generation: generation},
	})
	if err != nil {
		c.refuse(r, nil, err)
		return
	}
	for _, held := range c.release() {
		c.mu.Lock()
		s := c.session
		c.mu.Unlock()
		if s == nil {
			c.refuseStranger(held)
			continue
		}
		// This goroutine is a request's own already; the reader waits for it.
		c.serveHeld(ctx, s, held)
	}
}

// serveHeld carries out a request that waited for the login; all that did share what is left of its time, but for
// events, which are handed on.
func (c *conn) serveHeld(ctx context.Context, s *session, r *request) {
	if r.kind == updateToken {
		c.updateToken(ctx, r)
		return
	}
	run := actions[r.kind]
	if run == nil {
		c.serve(s, r)
		return
	}
	if err := c.handler.Limits.Allow(limit.Connection, s.id, 1); err != nil {
		c.refuse(r, s, err)
		return
	}
	c.answer(ctx, s, r, run)
}

// login waits for its turn, opens a session and answers. No state is made before the token is found good.
// A login of the same user on the same connection renews what is there: some SDKs log in twice.
func (c *conn) login(ctx context.Context, r *request, w wish) error {
	leave, err := c.handler.turn(ctx, gate.Login)
	if err != nil {
		c.count(err)
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, c.handler.options.CommandWithin)
	defer cancel()
	claims, _, err := c.handler.door.Admit(ctx, w.token, c.peer)
	if err != nil {
		c.count(err)
		return err
	}
	c.mu.Lock()
	before := c.session
	c.mu.Unlock()
	if before != nil && before.same(claims) && before.renew(claims) {
		c.handler.metrics.logins.WithLabelValues("again").Inc()
		c.greet(r, before, nil)
		return nil
	}
	if before != nil {
		c.part(before)
	}
	s, err := c.start(ctx, claims, w)
	if err != nil {
		c.count(err)
		return err
	}
	c.greet(r, s, s.missedInvitations())
	s.opened()
	return nil
}

// count notes a refused login.
func (c *conn) count(err error) {
	outcome := string(code.Internal)
	if e, ok := code.Of(err); ok {
		outcome = string(e.Code)
	}
	c.handler.metrics.logins.WithLabelValues(outcome).Inc()
}

// start makes or resumes a session and begins to follow its conversations, so that nothing which
// happens after the answer is missed.
func (c *conn) start(ctx context.Context, claims *auth.Claims, w wish) (*session, error) {
	h := c.handler
	s := newSession(c, claims, w.dialect)
	s.device = w.device
	opened, resumed, err := h.Hub.OpenSession(ctx, hub.Session{
		ID: w.session, Application: claims.ApplicationID, User: claims.UserID, UserName: claims.UserName, Device: w.device, Elsewhere: true,
		Mark: markOf(w.dialect.Generation), SignedBy: claims.SignedBy,
	}, s)
	if err != nil {
		return nil, err
	}
	outcome, mine := s.own(opened, w.session, resumed)
	if mine && !c.adopt(s) {
		s.close(false)
		mine = false
	}
	if !mine {
		return nil, code.New(code.Unavailable, "the connection is closing")
	}
	h.metrics.logins.WithLabelValues(outcome).Inc()
	s.follow(ctx)
	return s, nil
}

// adopt makes s the connection's session.
func (c *conn) adopt(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.session, c.lapsed, c.loginBy = s, nil, time.Time{}
	return true
}

// part ends a session and leaves the connection open for another login.
func (c *conn) part(s *session) {
	c.mu.Lock()
	if c.session == s {
		c.session = nil
		c.loginBy = time.Now().Add(c.handler.options.LoginWithin)
		c.wire.Wake(c.loginBy)
	}
	c.mu.Unlock()
	s.close(true)
}

// greet answers a login.
func (c *conn) greet(r *request, s *session, pending []json.RawMessage) {
	body := appendJSON(nil, welcome{
		ID: s.id, UserID: s.principal.GetUserId(), Name: s.principal.GetUserName(),
		APIKey: s.principal.GetApplicationId(), ApplicationID: s.principal.GetApplicationId(), Pending: pending,
	})
	c.wire.Send(eventFrame("session:success", success(r.rid, "", body)))
}

// updateToken moves the session's end, or takes a session up again whose token has expired.
func (c *conn) updateToken(ctx context.Context, r *request) {
	claims, _, err := c.handler.door.Admit(ctx, r.field("token"), c.peer)
	if err != nil {
		c.refuse(r, nil, err)
		return
	}
	c.mu.Lock()
	s, lapsed := c.session, c.lapsed
	c.mu.Unlock()
	if s != nil && s.same(claims) && !s.renew(claims) { // it ended just now, with its token perhaps
		c.mu.Lock()
		s, lapsed = c.session, c.lapsed
		c.mu.Unlock()
	}
	switch {
	case s == nil && lapsed == nil:
		c.refuseStranger(r)
	case s == nil && lapsed.same(claims):
		c.revive(ctx, r, lapsed, claims)
	case s == nil || !s.same(claims):
		c.refuse(r, s, code.New(code.InvalidToken, "the new token is another user's; log in with it instead"))
	default:
		c.succeed(ctx, s, r, struct{}{})
	}
}

// revive takes up a session whose token had expired.
func (c *conn) revive(ctx context.Context, r *request, lapsed *session, claims *auth.Claims) {
	s, err := c.start(ctx, claims, wish{session: lapsed.id, device: lapsed.device, dialect: lapsed.dialect})
	if err != nil {
		c.refuse(r, nil, err)
		return
	}
	c.succeed(ctx, s, r, struct{}{})
	s.opened()
}

// lapse ends a session because its token has, or the key that signed it. At /rtc/ the client is told and may log in again;
// at /v2/rtc/ a disconnect means just this.
func (c *conn) lapse(s *session) { c.lapseIf(s, func() bool { return true }) }

// expire lapses a session whose token has expired, and was not renewed meanwhile.
func (c *conn) expire(s *session) {
	c.lapseIf(s, func() bool { return s.expired(time.Now()) })
}

// prolong gives the connection's session other claims; false = it is not the connection's any more.
func (c *conn) prolong(s *session, claims *auth.Claims) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = claims
	return true
}

// lapseIf lapses the connection's session if over says so, which nobody renews meanwhile.
func (c *conn) lapseIf(s *session, over func() bool) {
	c.mu.Lock()
	mine := c.session == s && over()
	if mine {
		c.session, c.lapsed = nil, s
		c.loginBy = time.Now().Add(c.handler.options.LoginWithin)
		c.wire.Wake(c.loginBy)
	}
	c.mu.Unlock()
	if !mine {
		return
	}
	s.close(false)
	if c.query != nil {
		c.wire.Send(controlFrame(typeDisconnect, ""))
		c.wire.Close(socket.TokenExpired)
		return
	}
	f := failure{Code: string(code.ExpiredToken), Description: "the session's token has expired; update it or log in again"}
	c.wire.Send(eventFrame(f.Code, appendJSON(nil, f)))
}

// logout ends the session for good.
func (c *conn) logout(r *request) {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		c.refuseStranger(r)
		return
	}
	c.part(s)
	c.wire.Send(eventFrame("session:logged-out", success(r.rid, "", emptyObject)))
}
