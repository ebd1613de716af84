package socketio_test

import (
	"strings"
	"testing"
	"time"

	"parley/edge/hub"
	"parley/edge/socketio"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

func TestRefusedLoginLeavesTheConnectionOpen(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	c := n.old()
	for _, tc := range []struct{ name, token, code string }{
		{"none", "", "system:error:invalid-token"},
		{"nonsense", "x.y.z", "system:error:invalid-token"},
		{"expired", n.token("ann", -time.Minute), "system:error:expired-token"},
		{"nobody's", n.token("eve", time.Hour), "system:error:invalid-token"},
		{"an administrator's", n.token("", time.Hour), "system:error:permission"},
	} {
		if e := c.ask("session:login", value{"body": value{"token": tc.token}}); e.name != tc.code || e.payload["description"] == "" || e.payload["rid"] == nil {
			t.Errorf("%s: %+v", tc.name, e)
		}
	}
	n.loginOver(c, "ann", "4.0.2")
}

// TestRefusedQueryLogin: the refusal is the first event, then comes the disconnect.
func TestRefusedQueryLogin(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	for token, want := range map[string]string{
		"":                              "system:error:invalid-token",
		"x.y.z":                         "system:error:invalid-token",
		n.token("ann", -time.Minute):    "system:error:expired-token",
		n.token("", time.Hour):          "system:error:permission",
		n.token("nobody", time.Hour):    "system:error:invalid-token",
		strings.Repeat("x", 10_000):     "system:error:invalid-token",
		n.token("ann", 30*24*time.Hour): "system:error:invalid-token",
	} {
		got := n.newer(token, "").ended()
		if len(got) != 2 || got[0].name != want || got[1].name != "packet 41" {
			t.Errorf("%.10s…: %v, want %s", token, got, want)
		}
	}
}

func TestRequestsBeforeLoginAreHeldForIt(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.HoldWithin = time.Hour }})
	n.users("ann")
	con := n.conversation("ann")
	c := n.old()
	first := c.send("conversation:get", value{"cid": con, "body": value{}})
	second := c.send("text", value{"cid": con, "body": value{"text": "buffered while offline"}})
	third := c.send("session:update-token", value{"body": value{"token": n.token("ann", 2*time.Hour)}})
	n.loginOver(c, "ann", "2.0.5")
	for waiting := map[any]bool{first: true, second: true, third: true}; len(waiting) > 0; {
		e, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if waiting[e.payload["rid"]] && !strings.HasSuffix(e.name, ":success") {
			t.Errorf("%+v", e)
		}
		delete(waiting, e.payload["rid"])
	}
}

func TestRequestsWithoutLoginAreRefusedInTime(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.HoldWithin, o.HeldMax = 20*time.Millisecond, 3 }})
	c := n.old()
	for _, kind := range []string{"user:conversations", "push:register", "session:update-token", "rtc:new"} { // three are held, one is too many
		c.send(kind, nil)
	}
	seen := map[any]bool{}
	for range 4 {
		e := c.next("session:invalid")
		seen[e.payload["rid"]] = true
	}
	if len(seen) != 4 {
		t.Errorf("answered %v", seen)
	}
	if e := c.ask("session:logout", nil); e.name != "session:invalid" {
		t.Errorf("logout: %+v", e)
	}
}

func TestConnectionsWithoutLoginEnd(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.LoginWithin, o.ConnectWithin = 20*time.Millisecond, 20*time.Millisecond }})
	n.old().ended()
	w := n.webSocket("/v2/rtc/?EIO=4&transport=websocket&token=x")
	for { // it never says CONNECT
		if _, err := w.receive(); err != nil {
			break
		}
	}
}

// TestRepeatedLogin: the same user renews its session, another one replaces it.
func TestRepeatedLogin(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann")
	c := n.login("ann", "0.1.21")
	first := c.ask("session:login", value{"body": value{"token": n.token("ann", time.Hour), "SDK_version": "0.1.21"}})
	second := c.ask("session:login", value{"body": value{"token": n.token("ann", time.Hour), "SDK_version": "0.1.21"}})
	if first.name != "session:success" || first.payload.at("body", "id") != second.payload.at("body", "id") {
		t.Fatalf("%+v, %+v", first, second)
	}
	n.post(con, "ann", "once")
	c.next("text")
	c.do("user:get", value{"body": value{}})
	for _, e := range c.pending {
		if e.name == "text" {
			t.Error("the text came twice")
		}
	}
	other := n.loginOver(c, "bob", "0.1.21")
	n.post(con, "ann", "not for bob")
	other.do("user:get", value{"body": value{}})
	for _, e := range other.pending {
		if e.name == "text" {
			t.Error("bob got what ann follows")
		}
	}
	ann := must(n.cluster.GetUser(t.Context(), n.admin, refOf("ann")))(t)
	if got := n.hub.SessionsOf(n.app, ann.Id); len(got) != 0 {
		t.Errorf("ann's session goes on: %v", got)
	}
}

// brief logs in with a token that ends soon: as soon as it bears a login on this machine.
func (n *node) brief(name string) (*client, any) {
	n.t.Helper()
	for lasts := 2 * time.Second; ; lasts *= 2 {
		c := n.old()
		e := c.ask("session:login", value{"body": value{"token": n.token(name, lasts), "SDK_version": "4.0.2"}})
		if e.name == "session:success" {
			return c, e.payload.at("body", "id")
		}
		if e.name != "system:error:expired-token" || lasts > time.Minute {
			n.t.Fatalf("%+v", e)
		}
	}
}

// TestTokenEnds at /rtc/: the client is told, what it asks is refused, and a new token of the same
// user takes the session up again.
func TestTokenEnds(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	c, session := n.brief("ann")
	longer, _ := n.brief("bob")
	longer.do("session:update-token", value{"body": value{"token": n.token("bob", time.Hour)}})

	if e := c.next("system:error:expired-token"); e.payload["rid"] != nil {
		t.Fatalf("%+v", e)
	}
	if e := c.ask("text", value{"cid": con, "body": value{"text": "too late"}}); e.name != "system:error:expired-token" {
		t.Fatalf("%+v", e)
	}
	if e := c.ask("session:update-token", value{"body": value{"token": n.token("bob", time.Hour)}}); e.name != "system:error:invalid-token" {
		t.Errorf("another user's token: %+v", e)
	}
	c.do("session:update-token", value{"body": value{"token": n.token("ann", time.Hour)}})
	if e := c.ask("session:login", value{"body": value{"token": n.token("ann", time.Hour)}}); e.payload.at("body", "id") != session {
		t.Errorf("another session: %+v", e)
	}
	longer.do("text", value{"cid": con, "body": value{"text": "still here"}})
	c.next("text")
}

// briefly is brief at /v2/rtc/, with a token that lasts at least so long.
func (n *node) briefly(name string, lasts time.Duration) (c *client, session string) {
	n.t.Helper()
	for ; ; lasts *= 2 {
		c := n.newer(n.token(name, lasts), "")
		e := must(c.read())(n.t)
		if e.name == "session:success" {
			return c, e.payload.at("body", "id").(string)
		}
		if e.name != "system:error:expired-token" || lasts > time.Minute {
			n.t.Fatalf("%+v", e)
		}
	}
}

// TestTokenEndsNewer: at /v2/rtc/ a disconnect after the login means an expired token.
func TestTokenEndsNewer(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	renew := func(session, token string) error {
		return n.hub.RenewSession(t.Context(), &nodev1.RenewSession{Session: session, Token: token})
	}
	lasts := time.Second
	longer, session := n.briefly("ann", lasts)
	for renew(session, n.token("ann", time.Hour)) != nil { // too late, on this machine
		if lasts *= 2; lasts > time.Minute {
			t.Fatal("a session cannot be renewed")
		}
		longer, session = n.briefly("ann", lasts)
	}
	short, _ := n.briefly("ann", lasts)
	for why, err := range map[string]error{
		"an unknown session":   renew("SES-unknown", n.token("ann", time.Hour)),
		"another user's token": renew(session, n.token("bob", time.Hour)),
	} {
		if !code.Has(err, code.SessionNotFound) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if err := renew(session, "x.y.z"); !code.Has(err, code.InvalidToken) {
		t.Errorf("a bad token: %v", err)
	}
	got := short.ended()
	if len(got) != 1 || got[0].name != "packet 41" {
		t.Errorf("%v", got)
	}
	longer.do("user:get", nil)
}

func TestTooManySessions(t *testing.T) {
	n := newNode(t, tune{hub: func(o *hub.Options) { o.SessionsPerUser = 2 }})
	n.users("ann")
	n.login("ann", "4.0.2")
	n.login("ann", "4.0.2")
	if e := n.old().ask("session:login", value{"body": value{"token": n.token("ann", time.Hour)}}); e.name != "session:error:max-open-sessions" {
		t.Errorf("%+v", e)
	}
}

func TestResumeReplacesTheOlderConnection(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	con := n.conversation("ann")
	a := n.newer(n.token("ann", time.Hour), "")
	session := a.next("session:success").payload.at("body", "id").(string)
	a.acks = false
	n.post(con, "ann", "never acknowledged")
	a.next("text")
	b := n.newer(n.token("ann", time.Hour), session)
	if got := b.next("session:success").payload.at("body", "id"); got != session {
		t.Fatalf("%v", got)
	}
	if e := b.next("text"); e.payload.at("body", "text") != "never acknowledged" || e.ack == "" {
		t.Errorf("what was not acknowledged comes again: %+v", e)
	}
	a.ended()
	n.post(con, "ann", "goes on")
	b.next("text")
}
