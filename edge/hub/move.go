package hub

import (
	"context"
	"slices"
	"time"

	nodev1 "parley/proto/node/v1"
)

// A session that goes on from elsewhere has a connection there as long as nobody has noticed that it is gone.
// Which of the two connections is the client's is the one that began later; but no clock of one edge says anything
// to another, and a question may be on its way for so long that the client has come back meanwhile. So an edge that
// is asked says for how long it has had the connection, and gives it a number. The edge that asks knows when it
// asked and when it heard the answer: between the two the other had counted. If that makes the other connection
// the earlier one for certain, it is told by its number to let go of it. A connection that began since has another.

// asksMax is how often the others are asked before a connection is left where it is, because no answer came
// soon enough to say which is the earlier. The edge that has it notices itself that the client is gone.
const asksMax = 2

// askOthers gives what the other edges say of a user's sessions. Those that have an earlier connection of the one
// that is to be opened, for a connection that began at a time, have let go of it.
func (h *Hub) askOthers(ctx context.Context, wanted Session, began time.Time) (replies []*nodev1.Reply) {
	// Each question is a message of its own: one that was given up may still wait to be written out.
	ask := func(moving string, letGo ...uint64) []*nodev1.Reply {
		return h.others.Connected(ctx, wanted.Application,
			&nodev1.ListSessions{User: wanted.User, Connected: true, Moving: moving, LetGo: letGo})
	}
	if !wanted.moves() {
		return ask("")
	}
	for range asksMax {
		asked := time.Now()
		replies = ask(wanted.ID)
		earlier, unsure := order(replies, began, asked, time.Now())
		if len(earlier) > 0 {
			return ask(wanted.ID, earlier...)
		}
		if !unsure || ctx.Err() != nil {
			break
		}
	}
	return replies
}

// order gives the connections, by their numbers, that began before one of this edge did. It is unsure when the
// answers took so long that one of them may be earlier or later.
func order(replies []*nodev1.Reply, began, asked, heard time.Time) (earlier []uint64, unsure bool) {
	for _, there := range replies {
		m := there.GetMoving()
		if m == nil {
			continue
		}
		age := time.Duration(m.AgeNs)
		switch {
		case heard.Add(-age).Before(began):
			earlier = append(earlier, m.Connection)
		case !asked.Add(-age).After(began):
			unsure = true
		}
	}
	return earlier, unsure
}

// tellMoved has the other edges let go of a session for which nobody needs to wait. That it takes
// time, or is left out while many are told, does no harm: the edge notices itself that the client is gone.
func (h *Hub) tellMoved(wanted Session, began time.Time) {
	if h.others == nil || !wanted.moves() {
		return
	}
	select {
	case h.tells <- struct{}{}:
	default:
		h.metrics.untold.Inc()
		return
	}
	h.spawn(func() {
		defer func() { <-h.tells }()
		h.askOthers(h.ctx, wanted, began)
	})
}

// lingers is how long a session that was let go of keeps its place: longer than a question to the edges
// takes. Who has asked the edge to which it goes before it was there must find it here.
const lingers = time.Second

// departure is the place of a session that was let go of.
type departure struct {
	user  address
	until time.Time
}

// letGo takes a session away from its connection, if that is one of those named, because it goes on at another
// edge. It waits for its client then, like any that has lost its connection.
func (g *registry) letGo(moving Session, connections []uint64, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.find(moving)
	if l == nil || l.conn == nil || !slices.Contains(connections, l.number) {
		return false
	}
	l.conn.Replaced()
	l.conn, l.session.DisconnectedAt = nil, now
	user := address{moving.Application, moving.User}
	g.reserved[user]++
	g.departures = append(g.departures, departure{user, now.Add(lingers)})
	return true
}

// left gives the places back that sessions have left behind. Guarded by mu.
func (g *registry) left(now time.Time) {
	for len(g.departures) > 0 && !now.Before(g.departures[0].until) {
		g.free(g.departures[0].user)
		g.departures = g.departures[1:]
	}
}

// Connected lists the ids of a user's sessions that are connected to this edge now, oldest first, and
// an empty one for each that is about to be, or has just been. If the session that moves is connected here, it
// is handed over when its connection is one to let go of; otherwise that is told.
func (h *Hub) Connected(application string, q *nodev1.ListSessions) *nodev1.Reply {
	g := h.sessions
	moving := Session{ID: q.GetMoving(), Application: application, User: q.GetUser()}
	reply := &nodev1.Reply{HandedOver: g.letGo(moving, q.GetLetGo(), time.Now())}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := address{application, q.GetUser()}
	for _, l := range g.byUser[key] {
		if l.conn != nil {
			reply.Sessions = append(reply.Sessions, l.session.ID)
		}
	}
	reply.Sessions = append(reply.Sessions, make([]string, g.reserved[key])...)
	if l := g.find(moving); l != nil && l.conn != nil {
		reply.Moving = &nodev1.MovingSession{Connection: l.number, AgeNs: int64(time.Since(l.since))}
	}
	return reply
}
