//go:build chaos && linux

package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestEdgeLost kills the node that most clients are connected to. They resume elsewhere, without a
// gap, and those who were elsewhere before notice little. The many live in a process of their own.
func TestEdgeLost(t *testing.T) {
	clients := 500
	if *long {
		clients = 10_000
	}
	const perConversation = 100
	c := newCluster(t, 3)
	victim := c.nodes["n3"]
	// One who gives up early and comes again makes the queue longer for all.
	lost := gatherApart(t, shape{conversations: clients / perConversation, members: perConversation, login: 20 * time.Second}, []string{victim.url})
	others := gather(c, shape{conversations: 10, members: 2, rate: 50}, c.others(victim))
	lost.do(order{Do: "pace", Rate: 5}) // each is delivered to a hundred
	lost.do(order{Do: "one ack"})
	others.recovered(time.Now())
	before := lost.do(order{Do: "offer", Edges: c.others(victim)}).Logins
	began := time.Now()
	victim.kill()
	logins := lost.do(order{Do: "come back"}).Logins - before
	told.add(t, fmt.Sprintf("%d clients connected and subscribed again", clients), since(began), "10s")
	lost.do(order{Do: "settle"})
	told.add(t, "and at the head, all their sends answered", since(began), "10s")
	s := spreadOf(others.waits(began))
	told.add(t, "sends of clients that were elsewhere", s.String(), "p99 500ms")
	t.Logf("the slowest: %s", others.slowest(began))
	told.add(t, "connections made for each client", fmt.Sprintf("%.2f", float64(logins)/float64(clients)), "1.5")
	if s.p99 > 5*time.Second {
		t.Errorf("others' sends: %s", s)
	}
	lost.do(order{Do: "check", Edges: c.others(victim)})
	lost.leave()
	others.check(c.others(victim))
}

// logins is how often the clients have logged in.
func (w *crowd) logins() (n int) {
	for _, m := range w.chatters {
		m.mu.Lock()
		n += m.logins
		m.mu.Unlock()
	}
	return n
}

// recoveredOne waits until somebody has an ack for something that was due after t.
func (w *crowd) recoveredOne(t time.Time) {
	w.t.Helper()
	w.cluster.until("an ack", func() bool {
		return slices.ContainsFunc(w.chatters, func(m *chatter) bool { return m.ackedSince(t) })
	})
}
