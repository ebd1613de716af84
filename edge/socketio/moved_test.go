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

// moved logs in with the id of a session that began at some time on another node, which did not mark its generation.
func (n *node) moved(name string, began time.Time, more string) (*client, string) {
	n.t.Helper()
	session := id.NewAt(id.Session, began)
	for id.MarkOf(id.Session, session) != 0 { // one in 256 looks as if it were marked
		session = id.NewAt(id.Session, began)
	}
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

// TestAMovedSessionKeepsItsGeneration: the newest SDK says at its login alone what it is, and nothing
// but its session's id when it comes back, to whichever node.
func TestAMovedSessionKeepsItsGeneration(t *testing.T) {
	home, n := newNode(t), newNode(t) // which know nothing of each other
	home.users("bob")
	login := "/v2/rtc/?EIO=4&transport=websocket&SDK_name=js&token=" + url.QueryEscape(home.token("bob", time.Hour))
	session := home.connect(home.webSocket(login), 4).next("session:success").payload.at("body", "id").(string)

	n.users("ann", "bob")
	conversation := n.conversation("ann", "bob")
	n.texts(conversation, "ann", 2)
	c := n.newer(n.token("bob", time.Hour), session)
	if got := c.next("session:success").payload.at("body", "id"); got != session {
		t.Errorf("the session is %v, not %s", got, session)
	}
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

// TestAForgottenPositionIsNoGap: a node remembers only so many disconnected sessions. One that it has
// forgotten goes on as one of another node would, and not as if it had missed nothing.
func TestAForgottenPositionIsNoGap(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.KeptBytes = 1 }})
	n.users("ann", "bob", "cid", "dan")
	conversation := n.conversation("ann", "bob")
	b := n.newer(n.token("bob", time.Hour), "")
	session := b.next("session:success").payload.at("body", "id").(string)
	n.leave(b, "bob")
	n.post(conversation, "ann", "missed")
	for _, name := range []string{"cid", "dan"} { // they take bob's place
		c := n.newer(n.token(name, time.Hour), "")
		c.next("session:success")
		n.leave(c, name)
	}

	b = n.newer(n.token("bob", time.Hour), session)
	if got := b.next("session:success").payload.at("body", "id"); got != session {
		t.Fatalf("resumed as %v", got)
	}
	n.post(conversation, "ann", "last")
	if got := b.told(); !slices.Equal(got, []any{"missed"}) {
		t.Errorf("told %v", got)
	}
}

// leave ends a user's only connection, and waits until the node knows.
func (n *node) leave(c *client, name string) {
	n.t.Helper()
	user := must(n.cluster.GetUser(n.t.Context(), n.admin, refOf(name)))(n.t).Id
	c.do("user:get", nil) // everything before has been read
	c.wire.close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); len(n.hub.Live(n.app, []string{user})) > 0; <-tick.C {
		if time.Since(begin) > 30*time.Second {
			n.t.Fatalf("%s is still connected", name)
		}
	}
}
