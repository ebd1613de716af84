package socketio

import (
	"testing"
	"time"

	"parley/edge/auth"
)

// TestARenewedSessionDoesNotLapse: nor is one renewed that has lapsed, whichever comes first when both happen
// at once.
func TestARenewedSessionDoesNotLapse(t *testing.T) {
	c := &conn{}
	s := &session{conn: c, claims: &auth.Claims{ExpiresAt: time.Now().Add(-time.Minute)}}
	c.session = s
	later := &auth.Claims{ExpiresAt: time.Now().Add(time.Hour)}
	if !c.prolong(s, later) {
		t.Fatal("not renewed")
	}
	if c.expire(s); c.session != s { // what the clock had decided before
		t.Error("it lapsed")
	}
	c.session = nil
	if c.prolong(s, &auth.Claims{ExpiresAt: later.ExpiresAt.Add(time.Hour)}) || s.claims != later {
		t.Error("a session that has ended is renewed")
	}
}
