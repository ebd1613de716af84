//go:build chaos && linux

package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestEdgeLost kills the node that most clients are connected to. They resume elsewhere, without a
// gap, and those who were elsewhere before notice little.
func TestEdgeLost(t *testing.T) {
	clients := 500
	if *long {
		clients = 10_000
	}
	const perConversation = 100
	c := newCluster(t, 3)
	victim := c.nodes["n3"]
	// One who gives up early and comes again makes the queue longer for all.
	lost := gather(c, shape{conversations: clients / perConversation, members: perConversation, login: 20 * time.Second}, []string{victim.url})
	others := gather(c, shape{conversations: 10, members: 2, rate: 50}, c.others(victim))
	lost.pace(5) // each is delivered to a hundred
	lost.recoveredOne(time.Now())
	others.recovered(time.Now())
	before := lost.logins()
	for _, m := range lost.chatters {
		m.offer(c.others(victim))
	}
	began := time.Now()
	victim.kill()
	_, ok := within(patience, func() bool {
		return !slices.ContainsFunc(lost.chatters, func(m *chatter) bool { return !m.connected() })
	})
	if !ok {
		t.Errorf("not everybody is back after %s", patience)
	}
	told.add(t, fmt.Sprintf("%d clients connected and subscribed again", clients), since(began), "10s")
	lost.stopPace()
	lost.settle()
	told.add(t, "and at the head, all their sends answered", since(began), "10s")
	s := spreadOf(others.waits(began))
	told.add(t, "sends of clients that were elsewhere", s.String(), "p99 500ms")
	told.add(t, "connections made for each client", fmt.Sprintf("%.2f", float64(lost.logins()-before)/float64(clients)), "1.5")
	if s.p99 > 5*time.Second {
		t.Errorf("others' sends: %s", s)
	}
	lost.check(c.others(victim))
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
