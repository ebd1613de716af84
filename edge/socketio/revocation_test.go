package socketio_test

import (
	"testing"
	"time"

	eventv1 "parley/proto/event/v1"
	"parley/test/solo"
)

// TestASessionEndsWithItsApplication, of both generations: they are told and cut off.
func TestASessionEndsWithItsApplication(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	old, newer := n.login("ann", "2.0.5"), n.newer(n.token("ann", time.Hour), "")
	newer.next("session:success")
	if err := n.cluster.DeleteApplication(t.Context(), n.app); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{old, newer} {
		got := c.ended()
		if len(got) < 2 || got[len(got)-2].name != "session:terminated" || got[len(got)-1].name != "packet 41" {
			t.Errorf("told %v", got)
		}
	}
}

// TestASessionEndsWithItsKey: an old client is told that its token is over, and goes on with one of the new
// key; a newer one is disconnected, which means the same to it.
func TestASessionEndsWithItsKey(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	con := n.conversation("ann")
	old, newer := n.login("ann", "2.0.5"), n.newer(n.token("ann", time.Hour), "")
	newer.next("session:success")
	row := &eventv1.Application{Id: n.app, Name: "tests", PublicKey: solo.PublicKey(t, solo.Key(t, 1))}
	if _, err := n.cluster.PutApplication(t.Context(), row, false); err != nil {
		t.Fatal(err)
	}
	old.next("system:error:expired-token")
	if e := old.ask("text", value{"cid": con, "body": value{"text": "after"}}); e.name != "system:error:expired-token" {
		t.Errorf("a text after that: %s", e.name)
	}
	fresh := solo.Token(t, n.app, solo.Key(t, 1), solo.Claims{"sub": "ann", "acl": solo.Claims{"paths": solo.Claims{"/**": solo.Claims{}}}})
	old.do("session:update-token", value{"body": value{"token": fresh}})
	old.do("text", value{"cid": con, "body": value{"text": "again"}})
	if got := newer.ended(); len(got) == 0 || got[len(got)-1].name != "packet 41" {
		t.Errorf("told %v", got)
	}
}
