package socketio

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"parley/edge/auth"
	"parley/edge/dialect"
	"parley/edge/dialect/nexmo"
	"parley/edge/engineio"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/socket"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// session is one user's login on a connection. It follows all conversations that the user has
// joined, and is told of invitations.
type session struct {
	// Fixed by start before own, and with mu: the hub may tell it sooner that it is replaced.
	conn      *conn
	id        string // SES-…; empty until then
	principal *nodev1.Principal
	device    string // of the login; empty = none was told
	dialect   nexmo.Dialect
	resumed   bool
	moved     bool          // resumed, and another node had it before
	since     time.Time     // when it began; resumed: when the connection before this ended; moved: what is older is known
	synced    chan struct{} // closed when the conversations are followed for the first time

	phase phases
	line  hub.Line // the hub's

	mu        sync.Mutex
	claims    *auth.Claims         // guarded by mu
	waiting   []byte               // guarded by mu; frames of the gated phase
	feed      *hub.Subscription    // guarded by mu; the user's own
	follows   map[string]*followed // guarded by mu; by conversation
	byAck     map[uint64]*followed // guarded by mu; by what their acknowledgements have in common
	positions map[string]uint64    // guarded by mu; resumed: where to begin
	changes   []joining            // guarded by mu; to be worked on
	missed    bool                 // guarded by mu; the memberships are to be listed
	working   bool                 // guarded by mu; a goroutine works on changes
	began     bool                 // guarded by mu; synced is closed
	retryAt   time.Time            // guarded by mu; when missed is tried again, zero = not
	pending   []json.RawMessage    // guarded by mu; invitations of the time without connection
	ready     func()               // guarded by mu; told when the gated phase is over, nil = nobody
	replaced  bool                 // guarded by mu; resumed on another connection
}

// followed is a conversation that a session follows.
type followed struct {
	subscription *hub.Subscription
	position     uint64 // every event up to it has been acknowledged
	vague        bool   // its acknowledgements may be another conversation's
	again        *joining
}

// joining is that the user has joined a conversation.
type joining struct {
	conversation string
	after        *uint64       // the sequence before the event by which it did; nil = it had before
	known        *nodev1.Reply // head and own member, of one moment; nil = to be asked for
}

var (
	_ hub.Follower  = (*session)(nil)
	_ hub.Paced     = (*session)(nil)
	_ hub.Renewer   = (*session)(nil)
	_ hub.Revocable = (*session)(nil)
)

func newSession(c *conn, claims *auth.Claims, d nexmo.Dialect) *session {
	return &session{
		conn: c, claims: claims, principal: claims.Principal(), dialect: d, synced: make(chan struct{}),
		since: time.Now(), follows: map[string]*followed{}, byAck: map[uint64]*followed{},
	}
}

// own begins with what the hub opened, which is wanted or another, and gives how the login ends.
// It is false when another connection has taken the session over already: to that belongs what is kept.
func (s *session) own(opened hub.Session, wanted string, resumed bool) (outcome string, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced {
		return "", false
	}
	s.id = opened.ID
	switch {
	case resumed && s.resume(s.conn.handler.kept):
		return "resumed", true
	case opened.ID == wanted: // another node's, or one of which too little is remembered
		s.move(opened.CreatedAt, opened.Mark)
		return "moved", true
	}
	return "ok", true
}

// resume takes over what is kept of the session; false when nothing is. Guarded by mu.
func (s *session) resume(from *limit.Recent[string, kept]) bool {
	k, ok := from.Get(s.id)
	if !ok {
		return false
	}
	from.Delete(s.id)
	s.resumed, s.dialect, s.positions, s.since = true, k.dialect, k.positions, k.ended
	return true
}

// markOf is how the id of a session tells its generation.
func markOf(g nexmo.Generation) byte { return byte(g) + 1 }

// move takes over a session of another node, of which nothing is known but what its id says: when it
// began and, by its mark, of which generation its client is, who may not say that again. Guarded by mu.
func (s *session) move(began time.Time, mark byte) {
	if mark != 0 && mark <= markOf(nexmo.SDK) {
		s.dialect.Generation = nexmo.Generation(mark - 1)
	}
	s.resumed, s.moved, s.since = true, true, time.Now().Add(-s.conn.handler.options.MovedWithin)
	if began.After(s.since) {
		s.since = began
	}
}

// same says whether a token is of the session's user.
func (s *session) same(claims *auth.Claims) bool {
	return claims.ApplicationID == s.principal.GetApplicationId() && claims.UserID == s.principal.GetUserId()
}

// renew moves the session's end; false = it has ended already.
func (s *session) renew(claims *auth.Claims) bool {
	if !s.conn.prolong(s, claims) {
		return false
	}
	s.conn.handler.Hub.Renewed(s.id, s, claims.SignedBy)
	s.conn.wire.Wake(claims.ExpiresAt)
	return true
}

// expired says whether the session's token has.
func (s *session) expired(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.claims.ExpiresAt)
}

// allows says whether the session's token covers what REST would call by method and path.
func (s *session) allows(method, path string) error {
	s.mu.Lock()
	claims := s.claims
	s.mu.Unlock()
	return claims.Allows(method, path)
}

// opened lets events through: the login is answered.
func (s *session) opened() {
	s.mu.Lock()
	if !s.phase.is(gated) {
		s.mu.Unlock()
		return
	}
	s.conn.wire.Send(s.waiting)
	s.waiting = nil
	s.phase.become(open)
	due, ready := engineio.Earlier(s.retryAt, s.claims.ExpiresAt), s.ready
	s.ready = nil
	s.mu.Unlock()
	if ready != nil {
		ready()
	}
	s.conn.handler.metrics.sessions.WithLabelValues(s.dialect.Name()).Inc()
	s.conn.wire.Wake(due) // a retry that fell due meanwhile, too
}

// Send implements hub.Subscriber.
func (s *session) Send(frame []byte) {
	if s.phase.is(open) {
		s.conn.wire.Send(frame)
		return
	}
	s.wait(frame)
}

// SendNow implements hub.Subscriber.
func (s *session) SendNow(frame []byte) {
	if s.phase.is(open) {
		s.conn.wire.SendNow(frame)
		return
	}
	s.wait(frame)
}

// Offer implements hub.Paced. What was missed comes after the answer to the login.
func (s *session) Offer(frames []byte, ready func()) bool {
	if s.phase.is(gated) {
		s.mu.Lock()
		if s.phase.is(gated) {
			s.ready = ready
			s.mu.Unlock()
			return false
		}
		s.mu.Unlock()
	}
	return s.phase.is(open) && s.conn.wire.Offer(frames, ready)
}

// Line implements hub.Paced.
func (s *session) Line() *hub.Line { return &s.line }

// wait keeps frames until the login is answered.
func (s *session) wait(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const waitingMax = 1 << 20
	switch {
	case s.phase.is(over):
	case s.phase.is(open):
		s.conn.wire.Send(frame)
	case len(s.waiting)+len(frame) > waitingMax:
		s.conn.handler.metrics.dropped.WithLabelValues("gate_full").Inc() // the client finds the gap
	default:
		s.waiting = append(s.waiting, frame...)
	}
}

// Ended implements hub.Subscriber.
func (s *session) Ended(sub *hub.Subscription) {
	if sub.Conversation() == s.principal.GetUserId() {
		s.terminate()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.unfollow(sub)
	switch {
	case f == nil:
	case sub.Why() == dialect.Unavailable:
		s.missed = true
		s.work()
	case f.again != nil:
		s.changes = append(s.changes, *f.again)
		s.work()
	}
}

// terminate ends everything: the user, or the application, is gone.
func (s *session) terminate() {
	if s.phase.is(over) {
		return
	}
	s.conn.wire.Send(eventFrame("session:terminated", []byte(`{"body":{}}`)))
	s.conn.wire.Send(controlFrame(typeDisconnect, ""))
	s.conn.wire.Close(socket.Terminated)
}

// Revoke implements hub.Revocable.
func (s *session) Revoke(gone bool) {
	if gone {
		s.terminate()
		return
	}
	s.conn.handler.spawn(func() { s.conn.lapse(s) })
}

// Replaced implements hub.Replaced: the session was resumed on another connection, which begins
// where this one stood.
func (s *session) Replaced() {
	s.handOver()
	s.conn.wire.Close(socket.SessionReplaced)
}

// handOver leaves the session to another connection. What a session keeps that is over, or has not
// begun, is there already.
func (s *session) handOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaced = true
	if s.id != "" && !s.phase.is(over) {
		s.keep()
	}
}

// keep notes what a session begins with that resumes this one. If this one does not follow its
// conversations yet, that is what it began with itself; if it began with nothing, nothing is kept: then
// it goes on like one of another node, which is told too much rather than too little. Guarded by mu.
func (s *session) keep() {
	k := kept{dialect: s.dialect, ended: time.Now()}
	switch {
	case s.began:
	case s.resumed && !s.moved:
		k.ended = s.since
	default:
		return
	}
	if s.dialect.Acks {
		k.positions = make(map[string]uint64, len(s.follows))
		if !s.began {
			maps.Copy(k.positions, s.positions)
		}
		for conversation, f := range s.follows {
			k.positions[conversation] = f.position
		}
	}
	s.conn.handler.kept.Put(s.id, k)
}

// due is the clock's: it ends the session with its token, and tries again what failed.
func (s *session) due(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.phase.is(open) {
		return time.Time{}
	}
	if !now.Before(s.claims.ExpiresAt) {
		s.conn.handler.spawn(func() { s.conn.expire(s) })
		return time.Time{}
	}
	if !s.retryAt.IsZero() && !now.Before(s.retryAt) {
		s.retryAt, s.missed = time.Time{}, true
		s.work()
	}
	return engineio.Earlier(s.retryAt, s.claims.ExpiresAt)
}

// acknowledged notes how far the client has got.
func (s *session) acknowledged(ack uint64) {
	conversation, sequence := nexmo.SplitAck(ack)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byAck[conversation]; f != nil && !f.vague && sequence > f.position {
		f.position = sequence
	}
}

// close ends the session on this connection. forget: it cannot be resumed.
func (s *session) close(forget bool) {
	h := s.conn.handler
	before, follows, feed := s.end(forget)
	if before == over {
		return
	}
	for _, f := range follows {
		h.Hub.Abandon(f.subscription)
	}
	if feed != nil {
		h.Hub.Abandon(feed)
	}
	h.Hub.CloseSession(s.id, s, forget)
	if before == open {
		h.metrics.sessions.WithLabelValues(s.dialect.Name()).Dec()
	}
}

// end makes the session over, and gives how far it was and what it followed. What it keeps is there
// before another connection can find it over.
func (s *session) end(forget bool) (before phase, follows map[string]*followed, feed *hub.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before = s.phase.become(over); before == over {
		return over, nil, nil
	}
	if !forget && !s.replaced {
		s.keep()
	}
	follows, feed = s.follows, s.feed
	s.follows, s.byAck, s.changes, s.waiting = nil, nil, nil, nil
	return before, follows, feed
}

// Renew implements hub.Renewer: from now on the session's rights and its end are the token's.
func (s *session) Renew(ctx context.Context, token string) error {
	claims, err := s.conn.handler.Verifier.Verify(ctx, token)
	if err != nil {
		return err
	}
	if !s.same(claims) || !s.renew(claims) {
		return code.New(code.SessionNotFound, "No such session is connected.")
	}
	return nil
}
