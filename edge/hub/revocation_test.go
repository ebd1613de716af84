package hub

import (
	"testing"
	"time"

	"parley/edge/auth"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// loser is a connection that counts how it loses its session.
type loser struct {
	holder
	gone, keyless int
}

// Revoke implements Revocable.
func (l *loser) Revoke(gone bool) {
	if gone {
		l.gone++
	} else {
		l.keyless++
	}
}

// signed is a session whose token a key of the application has signed.
func signed(application, key string) Session {
	return Session{Application: application, User: "USR-a", SignedBy: auth.Fingerprints(&eventv1.Application{PublicKey: key})[0]}
}

// change alters what the cluster answers.
func (c *cluster) change(f func(c *cluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func opened(t *testing.T, h *Hub, s Session, conn Replaced) Session {
	t.Helper()
	s, _, err := h.OpenSession(t.Context(), s, conn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSessionsEndWithTheRightToThem: within a second of what the node sees, those of a deleted application
// and those whose key was replaced; not those of others, nor those that went on with a token of the new key.
func TestSessionsEndWithTheRightToThem(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		c.change(func(c *cluster) { c.key = "one" })
		var stays, renews, late, other loser
		opened(t, h, signed("app", "one"), &stays)
		second := opened(t, h, signed("app", "one"), &renews)
		opened(t, h, signed("app2", "one"), &other)
		elapse(2 * settling) // nobody looks at the sessions of an application that does not change
		if stays.keyless+renews.keyless+other.keyless != 0 {
			t.Fatal("sessions ended for nothing")
		}

		c.change(func(c *cluster) { c.key = "two" })
		h.Renewed(second.ID, &renews, signed("app", "two").SignedBy)
		elapse(watchEvery + clockTick)
		if stays.keyless == 0 || renews.keyless != 0 || stays.gone != 0 {
			t.Errorf("after the key: stays %d, renewed %d", stays.keyless, renews.keyless)
		}
		// One whose token was verified before the change, and which opens its session only now.
		opened(t, h, signed("app", "one"), &late)
		elapse(watchEvery + clockTick)
		if late.keyless == 0 {
			t.Error("a token of the replaced key opened a session that stays")
		}

		c.change(func(c *cluster) { c.gone["app"] = true })
		before := other.gone
		elapse(watchEvery + clockTick)
		if renews.gone == 0 || other.gone != before {
			t.Errorf("after the deletion: %d, of another application %d", renews.gone, other.gone)
		}
	})
}

// TestDoubtEndsNoSession: an application that cannot be looked at for a while is not taken to be gone.
func TestDoubtEndsNoSession(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		c.change(func(c *cluster) { c.key, c.blind = "one", code.New(code.Unavailable, "not now") })
		var conn loser
		opened(t, h, signed("app", "one"), &conn)
		elapse(10 * time.Second)
		if conn.gone+conn.keyless != 0 {
			t.Error("a session ended because the node could not look")
		}
		c.change(func(c *cluster) { c.blind, c.key = nil, "two" })
		elapse(watchEvery + clockTick)
		if conn.keyless == 0 {
			t.Error("a session of a replaced key was left when the node could look again")
		}
	})
}

// TestARenewalWhileItIsLookedAt: the application has a new key, and a session goes on with a token of that, after the
// application was looked at and before its sessions are.
func TestARenewalWhileItIsLookedAt(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		var conn loser
		s := opened(t, h, signed("app", "one"), &conn)
		c.change(func(c *cluster) {
			c.key = "one"
			c.looked = func() {
				c.change(func(c *cluster) { c.key = "two" })
				h.Renewed(s.ID, &conn, signed("app", "two").SignedBy)
			}
		})
		elapse(3 * watchEvery)
		if conn.keyless != 0 {
			t.Error("a session of the new key ended")
		}
	})
}
