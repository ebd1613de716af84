package hub

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"parley/edge/auth"
	"parley/edge/limit"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Session is a user's logged-in connection. It outlives the connection for a while, so that a
// client which comes back is the same session.
type Session struct {
	ID          string // SES-…
	Application string
	User        string // USR-…
	UserName    string
	Device      string
	// Elsewhere, on opening: an ID that is unknown here may be of another edge, which its client has
	// lost. The session goes on under it, without what that edge knew.
	Elsewhere bool
	// Mark is 1 to 15, or 0 for none. On opening it is written into the ID, if that is a new one; of a
	// session from elsewhere it is what that edge wrote.
	Mark byte
	// SignedBy is the key of the token that the session was opened or renewed with.
	SignedBy  auth.Fingerprint
	CreatedAt time.Time
	// DisconnectedAt is when the connection ended; zero = connected.
	DisconnectedAt time.Time
}

// moves says whether, on opening, it may be connected to another edge.
func (s Session) moves() bool { return s.Elsewhere && s.ID != "" }

// skewMax is how far ahead another edge's clock may be.
const skewMax = time.Minute

// Replaced is told when another connection resumes its session, as soon as it has one: that may be
// before OpenSession returns. It must not block.
type Replaced interface{ Replaced() }

// Renewer is a connection whose session goes on with a newer token of its user. A token that is
// another user's is code.SessionNotFound; one that is not good is refused as at a login.
type Renewer interface {
	Renew(ctx context.Context, token string) error
}

// registry is the sessions of this edge.
type registry struct {
	resume  time.Duration
	perUser int

	mu          sync.Mutex
	byID        map[string]*live                // guarded by mu
	byUser      map[address][]*live             // guarded by mu; in order of creation
	ofTenant    map[string]map[*live]struct{}   // guarded by mu; by application
	reserved    map[address]int                 // guarded by mu; places of sessions that are about to be opened, or are leaving
	departures  []departure                     // guarded by mu; by their time
	connections uint64                          // guarded by mu; counts all that there were, from a number of its own in each life of the edge
	tokens      uint64                          // guarded by mu; counts those that sessions were opened or renewed with
	closed      *limit.Recent[string, struct{}] // sessions that ended for good
}

// closedKept is how many sessions are remembered to have ended for good.
const closedKept = 16 << 10

// live is a session with the connection that has it.
type live struct {
	session Session
	conn    Replaced  // nil = disconnected
	since   time.Time // when conn began
	number  uint64    // of conn, among all that this edge has
	token   uint64    // of the session, among all that this edge was given
	revoked bool      // the connection was told so, and may not have come to an end yet
}

func newRegistry(resume time.Duration, perUser int) *registry {
	return &registry{resume: resume, perUser: perUser, byID: map[string]*live{}, byUser: map[address][]*live{}, ofTenant: map[string]map[*live]struct{}{},
		reserved: map[address]int{}, connections: rand.Uint64() >> 1, closed: limit.NewRecent[string, struct{}](closedKept, nil)}
}

// SessionResume is for how long a session outlives its connection.
func (h *Hub) SessionResume() time.Duration { return h.options.SessionResume }

// open is OpenSession as far as this edge knows.
func (g *registry) open(wanted Session, conn Replaced, now time.Time) (Session, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := address{wanted.Application, wanted.User}
	if l := g.find(wanted); l != nil {
		return g.resumeWith(l, wanted, conn, now), true, nil
	}
	if len(g.byUser[key]) >= g.perUser && !g.evict(key) {
		return Session{}, false, tooManySessions(g.perUser)
	}
	switch wanted.CreatedAt = g.began(wanted, now); {
	case !wanted.CreatedAt.IsZero():
		wanted.Mark = id.MarkOf(id.Session, wanted.ID)
	case wanted.Mark != 0:
		wanted.ID, wanted.CreatedAt = id.NewMarkedAt(id.Session, now, wanted.Mark), now
	default:
		wanted.ID, wanted.CreatedAt = id.NewAt(id.Session, now), now
	}
	l := &live{session: wanted}
	g.connect(l, conn, now)
	g.sign(l, wanted.SignedBy)
	g.byID[wanted.ID] = l
	g.byUser[key] = append(g.byUser[key], l)
	if g.ofTenant[wanted.Application] == nil {
		g.ofTenant[wanted.Application] = map[*live]struct{}{}
	}
	g.ofTenant[wanted.Application][l] = struct{}{}
	return wanted, false, nil
}

// find gives the session that is wanted, if it is the user's. Guarded by mu.
func (g *registry) find(wanted Session) *live {
	if l := g.byID[wanted.ID]; l != nil && l.session.Application == wanted.Application && l.session.User == wanted.User {
		return l
	}
	return nil
}

// resumeWith gives a session to another connection. Guarded by mu.
func (g *registry) resumeWith(l *live, wanted Session, conn Replaced, now time.Time) Session {
	if l.conn != nil {
		l.conn.Replaced()
	}
	g.connect(l, conn, now)
	l.session.DisconnectedAt = time.Time{}
	l.session.Device = wanted.Device
	g.sign(l, wanted.SignedBy)
	return l.session
}

// connect gives a session its connection. Guarded by mu.
func (g *registry) connect(l *live, conn Replaced, now time.Time) {
	g.connections++
	l.conn, l.since, l.number, l.revoked = conn, now, g.connections, false
}

// sign notes the key of the token with which a session goes on. Guarded by mu.
func (g *registry) sign(l *live, by auth.Fingerprint) {
	g.tokens++
	l.session.SignedBy, l.token = by, g.tokens
}

// began is when a session of another edge began that may go on here; zero for any other. Guarded
// by mu.
func (g *registry) began(wanted Session, now time.Time) time.Time {
	made, ok := id.MadeAt(id.Session, wanted.ID)
	_, closed := g.closed.Get(wanted.ID)
	if !ok || !wanted.Elsewhere || closed || g.byID[wanted.ID] != nil || made.After(now.Add(skewMax)) {
		return time.Time{}
	}
	return made
}

// evict forgets the user's longest disconnected session, if one is. Guarded by mu.
func (g *registry) evict(key address) bool {
	var oldest *live
	for _, l := range g.byUser[key] {
		if l.conn == nil && (oldest == nil || l.session.DisconnectedAt.Before(oldest.session.DisconnectedAt)) {
			oldest = l
		}
	}
	if oldest != nil {
		g.forget(oldest)
	}
	return oldest != nil
}

// CloseSession notes that conn no longer has the session; it may be resumed unless forget.
func (h *Hub) CloseSession(sessionID string, conn Replaced, forget bool) {
	h.sessions.close(sessionID, conn, forget, time.Now())
}

func (g *registry) close(sessionID string, conn Replaced, forget bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.byID[sessionID]
	if l == nil || l.conn != conn {
		return // resumed by another connection
	}
	l.conn = nil
	l.session.DisconnectedAt = now
	if forget {
		g.forget(l)
		g.closed.Put(sessionID, struct{}{})
	}
}

// forget removes a session. Guarded by mu.
func (g *registry) forget(l *live) {
	key := address{l.session.Application, l.session.User}
	delete(g.byID, l.session.ID)
	if delete(g.ofTenant[l.session.Application], l); len(g.ofTenant[l.session.Application]) == 0 {
		delete(g.ofTenant, l.session.Application)
	}
	g.byUser[key] = slices.DeleteFunc(g.byUser[key], func(o *live) bool { return o == l })
	if len(g.byUser[key]) == 0 {
		delete(g.byUser, key)
	}
}

// sweep forgets sessions that can no longer be resumed, and the places of those that have moved.
func (g *registry) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left(now)
	for _, l := range g.byID {
		if l.conn == nil && now.Sub(l.session.DisconnectedAt) >= g.resume {
			g.forget(l)
		}
	}
}

// RenewSession gives the connection that has a session another token. A session that is not
// connected to this edge is code.SessionNotFound.
func (h *Hub) RenewSession(ctx context.Context, r *nodev1.RenewSession) error {
	h.sessions.mu.Lock()
	l := h.sessions.byID[r.GetSession()]
	var conn Replaced
	if l != nil {
		conn = l.conn
	}
	h.sessions.mu.Unlock()
	renewer, ok := conn.(Renewer)
	if !ok {
		return code.New(code.SessionNotFound, "No such session is connected.")
	}
	return renewer.Renew(ctx, r.GetToken())
}

// SessionsOf lists a user's sessions on this edge, in order of creation, those that wait for
// their client to come back included.
func (h *Hub) SessionsOf(application, user string) []Session {
	g := h.sessions
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []Session
	for _, l := range g.byUser[address{application, user}] {
		list = append(list, l.session)
	}
	return list
}

// Live gives those of the users that are connected to this edge now. A session that waits for its
// client to come back does not count: nothing reaches that client.
func (h *Hub) Live(application string, users []string) []string {
	return h.sessions.connected(application, users)
}

func (g *registry) connected(application string, users []string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []string
	for _, user := range users {
		if slices.ContainsFunc(g.byUser[address{application, user}], func(l *live) bool { return l.conn != nil }) {
			list = append(list, user)
		}
	}
	return list
}

// Sessions lists the ids of a user's sessions on this edge, oldest first.
func (h *Hub) Sessions(_ context.Context, application, user string) ([]string, error) {
	var ids []string
	for _, s := range h.SessionsOf(application, user) {
		ids = append(ids, s.ID)
	}
	return ids, nil
}
