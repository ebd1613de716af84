package socketio_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"parley/edge/hub"
	"parley/edge/socketio"
	"parley/proto/id"
)

// moved logs in with the id of a session that began at some time on another node.
func (n *node) moved(name string, began time.Time, more string) (*client, string) {
	n.t.Helper()
	session := id.NewAt(id.Session, began)
	c := n.connect(n.webSocket("/v2/rtc/?EIO=4&transport=websocket&token="+url.QueryEscape(n.token(name, time.Hour))+"&session_id="+session+more), 4)
	c.acks = true
	return c, session
}

// texts posts numbered texts and gives when each was stored.
func (n *node) texts(conversation, author string, count int) []time.Time {
	n.t.Helper()
	var stored []time.Time
	for i := range count {
		sequence := n.post(conversation, author, fmt.Sprint(i))
		v := must(n.cluster.GetEvent(n.t.Context(), n.admin, conversation, sequence))(n.t)
		stored = append(stored, time.UnixMilli(v.GetEvent().GetTimestampMs()))
	}
	return stored
}

// told reads what a client is told of a conversation up to the text "last".
func (c *client) told() []any {
	c.t.Helper()
	var told []any
	for {
		e := c.next("text")
		if e.payload.at("body", "text") == "last" {
			return told
		}
		told = append(told, e.payload.at("body", "text"))
	}
}

// TestASessionOfAnotherNodeGoesOn: the id stays, and everything since the session began is told
// again, because nobody knows how much of it the client has: it drops that by the ids.
func TestASessionOfAnotherNodeGoesOn(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	conversation := n.conversation("ann", "bob")
	stored := n.texts(conversation, "ann", 5)
	began := stored[2]
	var want []any
	for i, at := range stored {
		if !at.Before(began) {
			want = append(want, fmt.Sprint(i))
		}
	}
	c, session := n.moved("bob", began, "")
	if got := c.next("session:success"); got.payload.at("body", "id") != session {
		t.Errorf("the session is %v, not %s", got.payload.at("body", "id"), session)
	}
	n.post(conversation, "ann", "last")
	if got := c.told(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}

	// On this node it is a session as any other: what it has acknowledged is not told again.
	c.do("user:get", nil) // its acknowledgements have been read by now
	n.post(conversation, "ann", "missed")
	n.post(conversation, "ann", "last")
	if got := n.newer(n.token("bob", time.Hour), session).told(); !slices.Equal(got, []any{"missed"}) {
		t.Errorf("resumed here, it was told %v", got)
	}
}

// TestWhatAMovedSessionIsToldIsBounded: by a time, and by a number in each conversation.
func TestWhatAMovedSessionIsToldIsBounded(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.MovedEvents = 2 }})
	n.users("ann", "bob")
	busy, quiet := n.conversation("ann", "bob"), n.conversation("ann", "bob")
	n.texts(busy, "ann", 4)
	c, _ := n.moved("bob", time.Now().Add(-time.Hour), "")
	c.next("session:success")
	n.post(busy, "ann", "last")
	if got := c.told(); !slices.Equal(got, []any{"2", "3"}) {
		t.Errorf("told %v", got)
	}
	n.post(quiet, "ann", "last")
	if got := c.told(); len(got) != 0 {
		t.Errorf("of the quiet conversation: %v", got)
	}
}

// TestOtherGenerationsAreNotToldTwice: the newest SDK would show a text again, so it is told only
// what comes.
func TestOtherGenerationsAreNotToldTwice(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	conversation := n.conversation("ann", "bob")
	n.texts(conversation, "ann", 2)
	c, _ := n.moved("bob", time.Now().Add(-time.Minute), "&SDK_name=js")
	c.next("session:success")
	n.post(conversation, "ann", "last")
	if e := c.next("message"); e.payload.at("body", "text") != "last" {
		t.Errorf("told %v", e.payload)
	}
}

// TestALogoutMakesRoom: the session is forgotten before it is answered.
func TestALogoutMakesRoom(t *testing.T) {
	n := newNode(t, tune{hub: func(o *hub.Options) { o.SessionsPerUser = 1 }})
	n.users("bob")
	c := n.newer(n.token("bob", time.Hour), "")
	c.next("session:success")
	c.send("session:logout", value{})
	c.next("session:logged-out")
	bob := must(n.cluster.GetUser(t.Context(), n.admin, refOf("bob")))(t)
	n.newer(n.token("bob", time.Hour), "").next("session:success")
	if live := n.hub.SessionsOf(n.app, bob.Id); len(live) != 1 {
		t.Errorf("there are: %v", live)
	}
}
