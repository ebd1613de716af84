package hub

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"parley/edge/socket"
	"parley/proto/code"
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

// TestAMovedSessionCountsOnce while it stands on two edges: on the old one its end has not been noticed.
func TestAMovedSessionCountsOnce(t *testing.T) {
	hubs, _ := pair(t, 2)
	var ids []string
	for range 2 {
		s, _, err := hubs[0].OpenSession(t.Context(), ann, &holder{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	for _, id := range ids {
		moved := ann
		moved.ID, moved.Elsewhere = id, true
		if s, _, err := hubs[1].OpenSession(t.Context(), moved, &holder{}); err != nil || s.ID != id {
			t.Errorf("%s cannot move: %v", id, err)
		}
	}
	if _, _, err := hubs[1].OpenSession(t.Context(), ann, &holder{}); !code.Has(err, code.TooManySessions) {
		t.Errorf("a third session: %v", err)
	}
}
