package hub

import (
	"context"
	"time"

	"parley/proto/code"
)

// Others are the edges of the other nodes, with which this one shares what a user may have.
type Others interface {
	// Edges is how many there are.
	Edges() int
	// Connected gives the ids of a user's sessions that are connected to each of them now. An edge
	// that does not answer has none that anybody could use.
	Connected(ctx context.Context, application, user string) [][]string
}

// freeParts is into how many times the number of edges what a user may have is cut: an edge gives one
// such part without a question. Few users have more sessions at one edge, and little is kept back for
// edges at which the user has none.
const freeParts = 8

// OpenSession makes a session for conn, or resumes the one with wanted.ID if it is the same
// user's and not forgotten; the connection that had it is told. resumed says which: a session that
// goes on from elsewhere has the wanted id and is not resumed. More sessions than a user may have
// on all edges together are code.TooManySessions.
//
// An edge gives a user a few sessions at once. Beyond those it opens the session and then asks the
// others, and counts for each what it has or may give without asking: so there are never more than
// may be. Of two edges that do so at once each sees the session of the other: both may refuse, but
// never both admit.
func (h *Hub) OpenSession(ctx context.Context, wanted Session, conn Replaced) (s Session, resumed bool, err error) {
	s, resumed, err = h.sessions.open(wanted, conn, time.Now())
	if err != nil || resumed || h.others == nil || h.others.Edges() == 0 {
		return s, resumed, err
	}
	most := h.options.SessionsPerUser
	free := most / freeParts / (h.others.Edges() + 1)
	if here := h.Connected(s.Application, s.User); len(here) > free && h.used(ctx, s, here, free) > most {
		h.sessions.withdraw(s.ID, conn)
		return Session{}, false, tooManySessions(most)
	}
	return s, false, nil
}

// used is how many sessions the user of s has or may yet be given without a question.
func (h *Hub) used(ctx context.Context, s Session, here []string, free int) int {
	all, kept := map[string]struct{}{}, 0
	for _, id := range here {
		all[id] = struct{}{}
	}
	for _, there := range h.others.Connected(ctx, s.Application, s.User) {
		kept += max(free-len(there), 0)
		for _, id := range there {
			all[id] = struct{}{} // one that has moved may stand on two edges for a moment
		}
	}
	return len(all) + kept
}

func tooManySessions(most int) error {
	e := code.New(code.TooManySessions, "this user has %d sessions already; close one", most)
	e.RetryAfter = time.Second
	return e
}

// withdraw takes a session back that conn has just opened, as if it had never been.
func (g *registry) withdraw(sessionID string, conn Replaced) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.byID[sessionID]; l != nil && l.conn == conn {
		g.forget(l)
	}
}

// Connected lists the ids of a user's sessions that are connected to this edge now, oldest first.
func (h *Hub) Connected(application, user string) []string {
	var ids []string
	for _, s := range h.SessionsOf(application, user) {
		if s.DisconnectedAt.IsZero() {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
