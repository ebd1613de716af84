package ws_test

import (
	"fmt"
	"testing"
	"time"

	actor "parley/actors/conversation"
	"parley/edge/hub"
	eventv1 "parley/proto/event/v1"
)

// TestCursorsOfALargeConversation: whoever listens is told how far the furthest has come, and on each of
// its devices how far it has itself; of the others nothing.
func TestCursorsOfALargeConversation(t *testing.T) {
	n := newNode(t, tune{hub: func(o *hub.Options) { o.CursorsEvery = 10 * time.Millisecond }})
	con := n.conversation()
	member := map[string]string{}
	for i := range actor.ReceiptMembersMax + 1 {
		name := fmt.Sprint("u", i)
		member[name] = n.join(con, n.user(name)).Member.Id
	}
	phone, tablet, other := n.login("u0"), n.login("u0"), n.login("u1")
	for _, c := range []*client{phone, tablet, other} {
		c.ask(frame{"type": "subscribe", "id": "s", "conversation": con})
	}
	// Cursors are told to those who listen, once: a text that has come shows that all do.
	if a := other.ask(frame{"type": "post", "id": "p", "conversation": con, "event_type": "text", "body": frame{"text": "hi"}, "client_id": "c"}); a["type"] != "ack" {
		t.Fatal(a)
	}
	for _, c := range []*client{phone, tablet, other} {
		c.sequences(1)
	}
	for _, r := range []struct {
		of        *client
		delivered int
		seen      int
	}{{other, 3, 2}, {phone, 5, 1}} {
		if a := r.of.ask(frame{"type": "receipt", "id": "r", "conversation": con, "delivered": r.delivered, "seen": r.seen}); a["type"] != "ack" {
			t.Fatal(a)
		}
	}
	for name, tc := range map[string]struct {
		c    *client
		own  string
		want cursor
	}{"phone": {phone, member["u0"], cursor{5, 1}}, "tablet": {tablet, member["u0"], cursor{5, 1}}, "other": {other, member["u1"], cursor{3, 2}}} {
		own, furthest := cursor{}, cursor{}
		for own != tc.want || furthest != (cursor{5, 2}) {
			for _, c := range tc.c.next("cursors")["cursors"].([]any) {
				got := c.(map[string]any)
				switch got["member"] {
				case nil:
					furthest = furthest.max(got)
				case tc.own:
					own = own.max(got)
				default:
					t.Fatalf("%s is told of %v", name, got)
				}
			}
		}
	}
}

// cursor is how far something has come: delivered and seen.
type cursor [2]float64

// max moves c by what is told.
func (c cursor) max(told map[string]any) cursor {
	delivered, _ := told["delivered"].(float64)
	seen, _ := told["seen"].(float64)
	return cursor{max(c[0], delivered), max(c[1], seen)}
}

// TestConversationsAreNamedByTheirIdAlone: a name, which older generations of the HTTP API take too, is
// nothing here, also for members; the id is, in whatever state the membership is.
func TestConversationsAreNamedByTheirIdAlone(t *testing.T) {
	n := newNode(t)
	ann := n.user("ann")
	n.user("bob")
	con := n.tenant.Conversation(&eventv1.Conversation{Name: "lunch"})
	n.join(con, ann)
	a, b := n.login("ann"), n.login("bob")
	for _, no := range []string{"lunch", "conversation/lunch", "CON-lunch", con + "x", "con" + con[3:], "USR-" + con[4:]} {
		for name, f := range commands(no) {
			f["id"] = name
			if got := a.ask(f); got["code"] != "conversation:error:not-found" {
				t.Errorf("%s of %q: %v", name, no, got)
			}
		}
	}
	if got := a.ask(frame{"type": "invite", "id": "i", "conversation": con, "user_name": "bob"}); got["type"] != "ack" {
		t.Fatal(got)
	}
	for who, c := range map[string]*client{"a member": a, "an invited user": b} {
		got := c.ask(frame{"type": "subscribe", "id": "s", "conversation": con, "after": 0})
		if got["type"] != "ack" || got["conversation"] != con || got["head"] != 2.0 {
			t.Errorf("%s subscribes: %v", who, got)
		}
		if list := c.sequences(2); list[0] != 1 || list[1] != 2 {
			t.Errorf("%s is told %v", who, list)
		}
	}
}
