package hub

import (
	"context"
	"time"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Others are the edges of the other nodes, with which this one shares what a user may have.
type Others interface {
	// Edges is how many there are.
	Edges() int
	// Connected asks each of them about a user's sessions and gives its answer (Hub.Connected). One that
	// does not answer gives nil, and has none that anybody could use.
	Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply
}

// freeParts is into how many times the number of edges what a user may have is cut: an edge gives one
// such part without a question. Few users have more sessions at one edge, and little is kept back for
// edges at which the user has none.
const freeParts = 8

// OpenSession makes a session for conn, or resumes the one with wanted.ID if it is the same
// user's and not forgotten; the connection that had it is told. resumed says which: a session that
// goes on from elsewhere has the wanted id and is not resumed. More sessions than a user may have
// on all edges together are code.TooManySessions, and a ctx that ends before it is known whether there
// are is code.Unavailable: neither changes anything.
//
// An edge gives a user a few sessions at once. For one beyond those it takes a place and then asks the
// others, and counts for each what it has or may give without asking: so there are never more than may
// be. Of two edges that do so at once each sees the place that the other took: both may refuse, but
// never both admit.
//
// A session that goes on from elsewhere counts there already, as long as its old connection has not been
// noticed to be gone. The edge that has it lets go of it, and it is admitted in its own place.
func (h *Hub) OpenSession(ctx context.Context, wanted Session, conn Replaced) (s Session, resumed bool, err error) {
	now := time.Now()
	if s, resumed = h.sessions.takeOver(wanted, conn, now); resumed {
		return s, true, nil // as many as before
	}
	here, err := h.sessions.reserve(wanted)
	if err != nil {
		return Session{}, false, err
	}
	defer h.sessions.release(wanted) // the session itself counts by then
	if free := h.free(); here > free {
		if err := h.admit(ctx, wanted, now, here, free); err != nil {
			return Session{}, false, err
		}
	} else {
		h.tellMoved(wanted, now)
	}
	return h.sessions.open(wanted, conn, now)
}

// free is how many sessions this edge gives a user without a question: a part of what there may be, at
// least one if there is one for each edge, and all of it without other edges.
func (h *Hub) free() int {
	most := h.options.SessionsPerUser
	if h.others == nil {
		return most
	}
	edges := h.others.Edges() + 1
	if edges == 1 {
		return most
	}
	return max(most/freeParts/edges, min(most/edges, 1))
}

// admit asks the other edges whether a user may have so many sessions here, of which free are given
// without a question on each.
func (h *Hub) admit(ctx context.Context, wanted Session, now time.Time, here, free int) error {
	all := here
	for _, there := range h.askOthers(ctx, wanted, now) {
		switch {
		case there.GetHandedOver():
			return nil // as many as before
		case there == nil && wanted.moves():
			// It may be the edge that the client has lost, with all of the user's sessions. What it gives
			// without a question is not kept back from those, or the last of them would find no place.
		default:
			all += max(len(there.GetSessions()), free)
		}
	}
	if ctx.Err() != nil { // then those that did not answer may have any number
		return code.New(code.Unavailable, "the login took too long; try again")
	}
	if most := h.options.SessionsPerUser; all > most {
		return tooManySessions(most)
	}
	return nil
}

func tooManySessions(most int) error {
	e := code.New(code.TooManySessions, "this user has %d sessions already; close one", most)
	e.RetryAfter = time.Second
	return e
}

// takeOver is open for a session that another connection has.
func (g *registry) takeOver(wanted Session, conn Replaced, now time.Time) (Session, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.find(wanted); l != nil && l.conn != nil {
		return g.resumeWith(l, wanted, conn, now), true
	}
	return Session{}, false
}

// reserve takes a place for a session that is about to be opened, until release. It gives how many places
// the user's sessions take on this edge, with this one. Whether one that goes on from elsewhere is one too
// many, only the others know.
func (g *registry) reserve(wanted Session) (here int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := address{wanted.Application, wanted.User}
	here = g.reserved[key] + 1
	for _, l := range g.byUser[key] {
		if l.conn != nil {
			here++
		}
	}
	if here > g.perUser && !wanted.moves() {
		return 0, tooManySessions(g.perUser)
	}
	g.reserved[key]++
	return here, nil
}

// release gives the place of reserve back.
func (g *registry) release(wanted Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free(address{wanted.Application, wanted.User})
}

// free gives one place of a user back. Guarded by mu.
func (g *registry) free(key address) {
	if g.reserved[key]--; g.reserved[key] == 0 {
		delete(g.reserved, key)
	}
}
