package hub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"parley/edge/socket"
	"parley/proto/code"
	"parley/proto/id"
)

// neighbours are the other hubs of a cluster.
type neighbours struct {
	hubs  []*Hub
	mu    sync.Mutex
	asked int // guarded by mu
}

// Edges implements Others.
func (n *neighbours) Edges() int { return len(n.hubs) }

// Connected implements Others.
func (n *neighbours) Connected(_ context.Context, application, user string) (ids [][]string) {
	n.mu.Lock()
	n.asked++
	n.mu.Unlock()
	for _, h := range n.hubs {
		ids = append(ids, h.Connected(application, user))
	}
	return ids
}

// pair makes two hubs that know each other.
func pair(t *testing.T, perUser int) (hubs [2]*Hub, others [2]*neighbours) {
	t.Helper()
	for i := range hubs {
		o := DefaultOptions()
		o.Incarnation, o.SessionsPerUser = 7, perUser
		pump := socket.NewPump(1)
		h, err := New(pump, o)
		if err != nil {
			t.Fatal(err)
		}
		hubs[i], others[i] = h, &neighbours{}
		t.Cleanup(pump.Close)
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for i, h := range hubs {
		others[i].hubs = []*Hub{hubs[1-i]}
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
		if a, b := len(hubs[0].Connected("app", "USR-a")), len(hubs[1].Connected("app", "USR-a")); a+b > 3 {
			t.Fatal(fmt.Sprint(a, " and ", b, " sessions"))
		}
	}
}

// TestEveryConnectionCounts: also when several edges have the same session, because its old connection
// has not been noticed to be gone, or because a client holds them all.
func TestEveryConnectionCounts(t *testing.T) {
	hubs, _ := pair(t, 3)
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
	if here := hubs[0].Connected("app", "USR-a"); !slices.Equal(here, []string{resumed}) {
		t.Errorf("%v are connected here and %d there; %d may be", here, most-1, most)
	}
	if _, _, err := hubs[0].OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
		t.Error(err)
	}
	if n := len(hubs[0].SessionsOf("app", "USR-a")); n != most {
		t.Errorf("of %d sessions %d are left after a refusal", most, n)
	}
}

// meddler does something while the others are asked.
type meddler struct {
	*neighbours
	meddle func()
}

// Connected implements Others.
func (m *meddler) Connected(ctx context.Context, application, user string) [][]string {
	if meddle := m.meddle; meddle != nil {
		m.meddle = nil
		meddle()
	}
	return m.neighbours.Connected(ctx, application, user)
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
		if len(hubs[0].Connected("app", "USR-a")) != 2 {
			t.Error("others cannot see its place")
		}
		if _, _, err := hubs[0].OpenSession(t.Context(), wanted, &holder{}); !code.Has(err, code.TooManySessions) {
			t.Errorf("a second login with its id: %v", err)
		}
	}}
	if _, _, err := hubs[0].OpenSession(t.Context(), wanted, &holder{}); !code.Has(err, code.TooManySessions) {
		t.Error(err)
	}
	if n := len(hubs[0].Connected("app", "USR-a")); n != 1 {
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
	if n := len(hubs[0].Connected("app", "USR-a")); n != 1 {
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
