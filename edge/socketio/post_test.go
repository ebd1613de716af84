package socketio_test

import (
	"testing"
	"time"
)

// TestARepeatedRequestHappensOnce: the mobile SDKs send a request again when its answer was lost,
// with the same tid, perhaps on another connection.
func TestARepeatedRequestHappensOnce(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	a := n.login("ann", "0.2")
	text := func(c *client, tid, text string) any {
		t.Helper()
		return c.do("text", value{"tid": tid, "cid": con, "body": value{"text": text}})["id"]
	}
	first := text(a, "1511302968", "hello")
	again := n.login("ann", "0.2")
	if id := text(again, "1511302968", "hello"); id != first {
		t.Errorf("repeated it is %v, first it was %v", id, first)
	}
	// Their tids are seconds: another text of the same second is another text.
	second := text(again, "1511302968", "world")
	if second == first || text(again, "1511302969", "hello") == first {
		t.Error("two texts are taken for one")
	}
	bob := a.member(con, "bob")
	for range 2 { // the second is answered as the first
		if left := again.do("conversation:member:delete", value{"tid": "8", "cid": con, "body": value{"member_id": bob}}); left["state"] != "LEFT" {
			t.Errorf("%v", left)
		}
	}
}

// TestWithoutATidEachRequestIsItsOwn.
func TestWithoutATidEachRequestIsItsOwn(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	con := n.conversation("ann")
	c := n.login("ann", "4.0.2")
	for range 2 {
		if err := c.wire.send(`42["text",{"cid":"` + con + `","body":{"text":"hello"}}]`); err != nil {
			t.Fatal(err)
		}
	}
	if first, second := c.next("text:success"), c.next("text:success"); first.payload.at("body", "id") == second.payload.at("body", "id") {
		t.Errorf("two texts are one: %+v", first)
	}
}

// TestASessionWithoutConnectionPosts: what a client asks over HTTP does not need its socket, and the
// session is listed until it can no longer be resumed.
func TestASessionWithoutConnectionPosts(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	a := n.newer(n.token("ann", time.Hour), "")
	session := a.next("session:success").payload.at("body", "id").(string)
	b := n.login("bob", "4.0.2")
	a.wire.close()
	n.post(con, "ann", "from nowhere") // as edge/rest does
	if e := b.next("text"); e.payload.at("body", "text") != "from nowhere" {
		t.Errorf("%+v", e)
	}
	ann := must(n.cluster.GetUser(t.Context(), n.admin, refOf("ann")))(t)
	if live := n.hub.SessionsOf(n.app, ann.Id); len(live) != 1 || live[0].ID != session {
		t.Errorf("listed are %v", live)
	}
	if e := n.newer(n.token("ann", time.Hour), session).next("session:success"); e.payload.at("body", "id") != session {
		t.Errorf("%+v", e)
	}
}
