package hub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/edge/socket"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// neighbours are the other hubs of a cluster, and so many edges that do not answer.
type neighbours struct {
	hubs   []*Hub
	silent int
	mu     sync.Mutex
	asked  int // guarded by mu
}

// Edges implements Others.
func (n *neighbours) Edges() int { return len(n.hubs) + n.silent }

// Connected implements Others.
func (n *neighbours) Connected(_ context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	n.mu.Lock()
	n.asked++
	n.mu.Unlock()
	replies := make([]*nodev1.Reply, n.silent)
	for _, h := range n.hubs {
		replies = append(replies, h.Connected(application, q))
	}
	return replies
}

// places are what ann's sessions take at an edge: an id for each that is connected.
func (h *Hub) places() []string {
	return h.Connected("app", &nodev1.ListSessions{User: "USR-a", Connected: true}).GetSessions()
}

// pair makes two hubs that know each other.
func pair(t *testing.T, perUser int) ([]*Hub, []*neighbours) { return edges(t, 2, perUser) }

// edges makes hubs that know each other.
func edges(t *testing.T, count, perUser int) (hubs []*Hub, others []*neighbours) {
	t.Helper()
	for range count {
		o := DefaultOptions()
		o.SessionsPerUser = perUser
		pump := socket.NewPump(1)
		h, err := New(pump, o)
		if err != nil {
			t.Fatal(err)
		}
		hubs, others = append(hubs, h), append(others, &neighbours{})
		t.Cleanup(pump.Close)
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for i, h := range hubs {
		others[i].hubs = slices.Concat(hubs[:i], hubs[i+1:])
		h.Start(t.Context(), newCluster(), others[i])
	}
	return hubs, others
}

var ann = Session{Application: "app", User: "USR-a"}

// TestSessionsOfAUserAreBoundedOverAllEdges: the limit holds for both together. An edge gives its free
// part without asking, and leaves the other's to the other; a session that was refused is not there;
// one that ends, or waits for its client, makes room on both.
func TestSessionsOfAUserAreBoundedOverAllEdges(t *testing.T) {
	const most = 3 * freeParts * 2 // three of them free on each of the two
	hubs, others := pair(t, most)
	conns := map[string]*holder{}
	login := func(at int) (string, bool) {
		t.Helper()
		conn := &holder{}
		s, _, err := hubs[at].OpenSession(t.Context(), ann, conn)
		if err != nil && !code.Has(err, code.TooManySessions) {
			t.Fatal(err)
		}
		conns[s.ID] = conn
		return s.ID, err == nil
	}
	var first []string
	for i := 0; ; i++ {
		id, ok := login(0)
		if i < 3 && others[0].asked != 0 {
			t.Error("the other edge was asked about the free part")
		}
		if !ok {
			break
		}
		first = append(first, id)
	}
	if len(first) != most-3 || len(hubs[0].SessionsOf("app", "USR-a")) != most-3 {
		t.Errorf("the first edge gave %d sessions, and has %d", len(first), len(hubs[0].SessionsOf("app", "USR-a")))
	}
	for i := range 4 {
		if _, ok := login(1); ok != (i < 3) {
			t.Errorf("session %d on the second edge: %v", i, ok)
		}
	}
	if _, ok := login(0); ok {
		t.Error("the first edge gives more than there are")
	}
	hubs[0].CloseSession(first[0], conns[first[0]], true)
	hubs[0].CloseSession(first[1], conns[first[1]], false) // may come back, and takes no place until then
	for i := range 3 {
		if _, ok := login(1); ok != (i < 2) {
			t.Errorf("session %d after two are gone: %v", i, ok)
		}
	}
}

// TestTwoEdgesDoNotBothAdmit the last session, however their logins meet: what one edge is about to
// admit, the other sees.
func TestTwoEdgesDoNotBothAdmit(t *testing.T) {
	for range 50 {
		hubs, _ := pair(t, 3)
		var logins sync.WaitGroup
		for i := range 8 {
			logins.Go(func() {
				_, _, err := hubs[i%2].OpenSession(t.Context(), ann, &holder{})
				if err != nil && !code.Has(err, code.TooManySessions) {
					t.Error(err)
				}
			})
		}
		logins.Wait()
		if a, b := len(hubs[0].places()), len(hubs[1].places()); a+b > 3 {
			t.Fatal(fmt.Sprint(a, " and ", b, " sessions"))
		}
	}
}

// TestEveryConnectionCounts: also when several edges have the same session, because so many move at once
// that the old one is not told.
func TestEveryConnectionCounts(t *testing.T) {
	hubs, _ := pair(t, 3)
	for _, h := range hubs {
		h.tells = nil
	}
	moved := ann
	moved.ID, moved.Elsewhere = id.NewAt(id.Session, time.Now()), true
	first := &holder{}
	for _, h := range hubs {
		if s, _, err := h.OpenSession(t.Context(), moved, first); err != nil || s.ID != moved.ID {
			t.Fatalf("%v: %v", s, err)
		}
	}
	hubs[0].open(t, 1)
	for _, h := range hubs {
		if _, _, err := h.OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
			t.Errorf("a fourth connection: %v", err)
		}
		if _, resumed, err := h.OpenSession(t.Context(), moved, first); !resumed || err != nil {
			t.Errorf("a connection cannot take the place of another: %v", err)
		}
	}
	hubs[0].CloseSession(moved.ID, first, false)
	if _, _, err := hubs[1].OpenSession(t.Context(), ann, &holder{}); err != nil {
		t.Errorf("after one is gone: %v", err)
	}
	if untold := testutil.ToFloat64(hubs[0].metrics.untold) + testutil.ToFloat64(hubs[1].metrics.untold); untold != 2 {
		t.Errorf("%v are said not to have been told", untold)
	}
}

// open gives a hub so many sessions of ann.
func (h *Hub) open(t *testing.T, count int) (ids []string, conns []*holder) {
	t.Helper()
	for range count {
		conn := &holder{}
		s, _, err := h.OpenSession(t.Context(), ann, conn)
		if err != nil {
			t.Fatal(err)
		}
		ids, conns = append(ids, s.ID), append(conns, conn)
	}
	return ids, conns
}

// TestASessionThatComesBackCounts: while it waited for its client another may have taken its place. It
// is refused then and keeps waiting, as do the others.
func TestASessionThatComesBackCounts(t *testing.T) {
	const most = 4
	hubs, _ := pair(t, most)
	var waiting []string
	for range most {
		ids, conns := hubs[0].open(t, 1)
		hubs[0].CloseSession(ids[0], conns[0], false)
		waiting = append(waiting, ids[0])
	}
	hubs[1].open(t, most-1)
	var resumed string
	for _, session := range waiting {
		again := ann
		again.ID = session
		switch _, ok, err := hubs[0].OpenSession(t.Context(), again, &holder{}); {
		case ok:
			resumed = session
		case !code.Has(err, code.TooManySessions):
			t.Errorf("%s is made anew: %v", session, err)
		}
	}
	if here := hubs[0].places(); !slices.Equal(here, []string{resumed}) {
		t.Errorf("%v are connected here and %d there; %d may be", here, most-1, most)
	}
	if _, _, err := hubs[0].OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
		t.Error(err)
	}
	if n := len(hubs[0].SessionsOf("app", "USR-a")); n != most {
		t.Errorf("of %d sessions %d are left after a refusal", most, n)
	}
}

// age makes the connections of a hub a minute older. One that follows at another edge is later for certain then, however
// long the answer takes that says so.
func (h *Hub) age() {
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	for _, l := range h.sessions.byID {
		l.since = l.since.Add(-time.Minute)
	}
}

// goesOn is ann's session as its client asks for it at another edge.
func goesOn(session string) Session {
	s := ann
	s.ID, s.Elsewhere = session, true
	return s
}

// TestAtTheLimitASessionMoves in its own place: the edge that still has its connection lets go of it,
// once, and of nobody else's. What no edge has is one too many.
func TestAtTheLimitASessionMoves(t *testing.T) {
	hubs, _ := pair(t, 3)
	ids, conns := hubs[0].open(t, 2)
	hubs[1].open(t, 1)
	unknown := id.NewAt(id.Session, time.Now())
	if _, _, err := hubs[1].OpenSession(t.Context(), goesOn(unknown), &holder{}); !code.Has(err, code.TooManySessions) {
		t.Errorf("an id that nobody has makes room: %v", err)
	}
	its := hubs[0].Connected("app", &nodev1.ListSessions{User: "USR-a", Moving: ids[0]}).GetMoving().GetConnection()
	let := []uint64{its}
	for _, thief := range []*nodev1.ListSessions{{User: "USR-b", Moving: ids[0], LetGo: let}, {User: "USR-a", LetGo: let},
		{User: "USR-a", Moving: unknown, LetGo: let}, {User: "USR-a", Moving: ids[0], LetGo: []uint64{its - 1, its + 1}}} {
		if hubs[0].Connected("app", thief).GetHandedOver() || conns[0].replaced {
			t.Errorf("%v is handed over", thief)
		}
	}
	if hubs[0].Connected("app", &nodev1.ListSessions{User: "USR-b", Moving: ids[0]}).GetMoving() != nil {
		t.Error("another user is told of the connection")
	}
	hubs[0].age()
	next := &holder{}
	if s, _, err := hubs[1].OpenSession(t.Context(), goesOn(ids[0]), next); err != nil || s.ID != ids[0] {
		t.Fatalf("%v: %v", s, err)
	}
	if !conns[0].replaced || conns[1].replaced {
		t.Error("the old edge tells the wrong connection")
	}
	again := &nodev1.ListSessions{User: "USR-a", Moving: ids[0], LetGo: let}
	if hubs[0].Connected("app", again).GetHandedOver() {
		t.Error("it is handed over twice")
	}
	hubs[0].CloseSession(ids[0], conns[0], true) // late news of the old connection change nothing
	for i, h := range hubs {
		h.sessions.sweep(time.Now().Add(lingers))
		if _, _, err := h.OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
			t.Errorf("a fourth at edge %d: %v", i, err)
		}
	}

	// It may come back, and is the same there; also when its client cannot decide where to stay.
	hubs[1].age()
	if _, resumed, err := hubs[0].OpenSession(t.Context(), goesOn(ids[0]), &holder{}); !resumed || err != nil || !next.replaced {
		t.Errorf("back at the first edge: %v, %v, and the second lets go of it: %v", resumed, err, next.replaced)
	}
	for i := range 6 {
		hubs[i%2].age()
		if _, _, err := hubs[1-i%2].OpenSession(t.Context(), goesOn(ids[0]), &holder{}); err != nil {
			t.Errorf("move %d: %v", i, err)
		}
	}
}

// TestASilentEdgeKeepsItsPart: what it may give without a question no other gives away, but to a session
// that may be its own.
func TestASilentEdgeKeepsItsPart(t *testing.T) {
	hubs, others := edges(t, 1, 4)
	others[0].silent = 1
	hubs[0].open(t, 3)
	if _, _, err := hubs[0].OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
		t.Errorf("it gives the silent edge's part away: %v", err)
	}
	for i, want := range []bool{true, false} {
		its := id.NewAt(id.Session, time.Now())
		if _, _, err := hubs[0].OpenSession(t.Context(), goesOn(its), &holder{}); code.Has(err, code.TooManySessions) == want {
			t.Errorf("session %d of the silent edge: %v", i, err)
		}
	}
}

// TestAPlaceIsNotGivenTwiceWhileItMoves: a login that has asked one edge before a session went there, and
// asks the other after it has left, must not find room.
func TestAPlaceIsNotGivenTwiceWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still: a place that was left stays taken only for a while
		hubs, others := edges(t, 3, 6)
		ids, _ := hubs[0].open(t, 3)
		hubs[0].age()
		hubs[1].open(t, 1)
		hubs[2].open(t, 2)
		others[2].hubs = hubs[1:2] // asked first
		hubs[2].others = &meddler{neighbours: &neighbours{hubs: hubs[:1]}, first: others[2], meddle: func() {
			if _, _, err := hubs[1].OpenSession(t.Context(), goesOn(ids[0]), &holder{}); err != nil {
				t.Error(err)
			}
		}}
		if _, _, err := hubs[2].OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
			t.Errorf("a seventh session: %v", err)
		}
		hubs[0].sessions.sweep(time.Now().Add(lingers))
		if left := hubs[0].places(); !slices.Equal(left, ids[1:]) {
			t.Errorf("%q are left", left)
		}
	})
}

// TestAllSessionsOfALostEdgeGoOn at the others, however they meet, with as many as there may be; what the
// lost edge gave without a question is not kept back from them, as it is from a new session.
func TestAllSessionsOfALostEdgeGoOn(t *testing.T) {
	const most = 20
	hubs, others := edges(t, 3, most)
	hubs[1].open(t, 1)
	hubs[2].open(t, 1)
	lost, _ := hubs[0].open(t, most-2)
	others[1].hubs, others[1].silent = hubs[2:3], 1
	others[2].hubs, others[2].silent = hubs[1:2], 1
	move := func(i int) error {
		_, _, err := hubs[1+i%2].OpenSession(t.Context(), goesOn(lost[i]), &holder{})
		return err
	}
	refused := make([]bool, len(lost))
	var moves sync.WaitGroup
	for i := range lost {
		moves.Go(func() {
			err := move(i)
			if refused[i] = code.Has(err, code.TooManySessions); err != nil && !refused[i] {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	moves.Wait()
	for i := range lost {
		if !refused[i] {
			continue
		}
		if err := move(i); err != nil { // of two for the last places both may have been
			t.Errorf("%d, again: %v", i, err)
		}
	}
	if a, b := len(hubs[1].places()), len(hubs[2].places()); a+b != most {
		t.Errorf("%d and %d sessions", a, b)
	}
	unknown := id.NewAt(id.Session, time.Now())
	for _, more := range []Session{ann, goesOn(unknown)} {
		if _, _, err := hubs[1].OpenSession(t.Context(), more, &holder{}); !code.Has(err, code.TooManySessions) {
			t.Errorf("one more: %v", err)
		}
	}
}

// informed is a connection that is told that its session has moved.
type informed chan struct{}

// Replaced implements Replaced.
func (c informed) Replaced() { close(c) }

// TestAnEdgeIsToldThatItsSessionMoved also if there was room for it anyway.
func TestAnEdgeIsToldThatItsSessionMoved(t *testing.T) {
	hubs, _ := pair(t, 100)
	old := make(informed)
	s, _, err := hubs[0].OpenSession(t.Context(), ann, old)
	if err != nil {
		t.Fatal(err)
	}
	hubs[0].age()
	if _, _, err := hubs[1].OpenSession(t.Context(), goesOn(s.ID), &holder{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-old:
	case <-time.After(time.Minute):
		t.Fatal("the old connection is not told")
	}
}

// meddler does something while the others are asked, after the first of them.
type meddler struct {
	*neighbours
	first  *neighbours // nil = none
	meddle func()
}

// Edges implements Others.
func (m *meddler) Edges() int {
	if m.first == nil {
		return m.neighbours.Edges()
	}
	return m.first.Edges() + m.neighbours.Edges()
}

// Connected implements Others.
func (m *meddler) Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	var early []*nodev1.Reply
	if m.first != nil {
		early = m.first.Connected(ctx, application, q)
	}
	if meddle := m.meddle; meddle != nil {
		m.meddle = nil
		meddle()
	}
	return append(early, m.neighbours.Connected(ctx, application, q)...)
}

// TestNobodyResumesWhatIsNotAdmitted: while the others are asked about a session, nobody finds it, but it
// has its place.
func TestNobodyResumesWhatIsNotAdmitted(t *testing.T) {
	hubs, others := pair(t, 4)
	hubs[0].open(t, 1)
	hubs[1].open(t, 3)
	wanted := ann
	wanted.ID, wanted.Elsewhere = id.NewAt(id.Session, time.Now()), true
	hubs[0].others = &meddler{neighbours: others[0], meddle: func() {
		if n := len(hubs[0].SessionsOf("app", "USR-a")); n != 1 {
			t.Error("it is there before it is admitted")
		}
		if len(hubs[0].places()) != 2 {
			t.Error("others cannot see its place")
		}
		if _, _, err := hubs[0].OpenSession(t.Context(), wanted, &holder{}); !code.Has(err, code.TooManySessions) {
			t.Errorf("a second login with its id: %v", err)
		}
	}}
	if _, _, err := hubs[0].OpenSession(t.Context(), wanted, &holder{}); !code.Has(err, code.TooManySessions) {
		t.Error(err)
	}
	if n := len(hubs[0].places()); n != 1 {
		t.Errorf("%d places are taken after the refusals", n)
	}
}

// TestALoginThatHasEndedIsNotAdmitted: the others could not answer it.
func TestALoginThatHasEndedIsNotAdmitted(t *testing.T) {
	hubs, others := pair(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	hubs[0].open(t, 1)
	hubs[0].others = &meddler{neighbours: others[0], meddle: cancel}
	if _, _, err := hubs[0].OpenSession(ctx, ann, &holder{}); !code.Has(err, code.Unavailable) {
		t.Errorf("admitted: %v", err)
	}
	if n := len(hubs[0].places()); n != 1 {
		t.Errorf("there are %d sessions", n)
	}
}

// TestTheFirstSessionAsksNobody in a cluster of any size in which each edge may have one.
func TestTheFirstSessionAsksNobody(t *testing.T) {
	const most = 20
	for edges := range most + 1 {
		hubs, others := pair(t, most)
		others[0].hubs = slices.Repeat([]*Hub{hubs[1]}, edges)
		hubs[0].open(t, 1)
		if asked := others[0].asked; asked != 0 && edges < most || asked == 0 && edges == most {
			t.Errorf("with %d other edges they were asked %d times", edges, asked)
		}
	}
}
