package socketio_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/actors/api"
	"parley/edge/limit"
	"parley/edge/socketio"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// ailing is a cluster whose reads fail, or wait, as it is told.
type ailing struct {
	api.Cluster
	conversation atomic.Pointer[code.Error] // of GetConversation; without a code it is none of ours
	unlisted     atomic.Int32               // so many of the next lists of memberships fail
	events       atomic.Pointer[func()]     // before events are listed
}

func (a *ailing) GetConversation(ctx context.Context, p *nodev1.Principal, conversation string, full bool) (*nodev1.Reply, error) {
	if e := a.conversation.Load(); e != nil && e.Code == "" {
		return nil, errors.New(e.Message)
	} else if e != nil {
		return nil, e
	}
	return a.Cluster.GetConversation(ctx, p, conversation, full)
}

func (a *ailing) ListMemberships(ctx context.Context, p *nodev1.Principal, user string, page *nodev1.Page, states []eventv1.MemberState) (*nodev1.Reply, error) {
	if a.unlisted.Add(-1) >= 0 {
		return nil, code.New(code.Unavailable, "nobody leads this shard at the moment")
	}
	return a.Cluster.ListMemberships(ctx, p, user, page, states)
}

func (a *ailing) ListEvents(ctx context.Context, p *nodev1.Principal, conversation string, l *nodev1.ListEvents) (*nodev1.Reply, error) {
	if before := a.events.Load(); before != nil {
		(*before)()
	}
	return a.Cluster.ListEvents(ctx, p, conversation, l)
}

func (a *ailing) tune() tune {
	return tune{cluster: func(c api.Cluster) api.Cluster { a.Cluster = c; return a }}
}

// TestWhatFailsOnOurSide: a failure without a code is told as one of ours, without its cause; one with a
// code as it is. The connection goes on.
func TestWhatFailsOnOurSide(t *testing.T) {
	a := &ailing{}
	n := newNode(t, a.tune())
	n.users("ann")
	con := n.conversation("ann")
	c := n.login("ann", "4.0.2")
	busy := code.New(code.Unavailable, "the shard is busy")
	busy.RetryAfter = 250 * time.Millisecond
	for _, tc := range []struct {
		err  *code.Error
		want string
		wait any
	}{
		{&code.Error{Message: "open /var/lib/parley/secret: input/output error"}, string(code.Internal), nil},
		{busy, string(code.Unavailable), 250.0},
	} {
		a.conversation.Store(tc.err)
		e := c.ask("conversation:get", value{"cid": con})
		if e.name != tc.want || e.payload["description"] == "" || e.payload["retry_after_ms"] != tc.wait ||
			strings.Contains(e.payload["description"].(string), "secret") {
			t.Errorf("%v: %+v", tc.err, e)
		}
	}
	a.conversation.Store(nil)
	c.do("conversation:get", value{"cid": con})
}

// TestALoginWithoutItsConversations: they cannot be listed now. The login is answered all the same, and
// what happens is told once they can.
func TestALoginWithoutItsConversations(t *testing.T) {
	a := &ailing{}
	a.unlisted.Store(1)
	n := newNode(t, a.tune(), tune{socket: func(o *socketio.Options) { o.SyncWithin = 20 * time.Millisecond }})
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	c := n.login("ann", "4.0.2")
	told := func(e event) bool { return e.name == "text" }
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !slices.ContainsFunc(c.pending, told); <-tick.C {
		if time.Since(begin) > time.Minute {
			t.Fatal("its conversations are not followed")
		}
		n.post(con, "bob", "hello")
		c.do("user:get", nil)
	}
	if a.unlisted.Load() >= 0 {
		t.Error("nothing has failed")
	}
}

// TestLargeAnswersTakeTurns: one that finds no place in time is refused, and there is one again when the
// answer before has left.
func TestLargeAnswersTakeTurns(t *testing.T) {
	a := &ailing{}
	n := newNode(t, a.tune(), tune{socket: func(o *socketio.Options) { o.LargeAnswers, o.CommandWithin = 1, 12*time.Second }})
	n.users("ann")
	con := n.conversation("ann")
	for range 250 {
		n.post(con, "ann", strings.Repeat("x", 8000))
	}
	first, second := n.login("ann", "4.0.2"), n.login("ann", "4.0.2")
	grown, release := make(chan struct{}), make(chan struct{})
	read := 0
	hold := func() {
		if read++; read == 8 { // pages of a quarter of a mebibyte: it has its place
			close(grown)
			<-release
		}
	}
	a.events.Store(&hold)
	asked := first.send("conversation:events", value{"cid": con})
	select {
	case <-grown:
	case <-time.After(solo.Patience):
		t.Fatal("the first answer does not grow")
	}
	a.events.Store(nil)
	e := second.ask("conversation:events", value{"cid": con})
	if e.name != string(code.Unavailable) || !strings.Contains(e.payload["description"].(string), "large answers") {
		t.Errorf("a second large answer: %s %v", e.name, e.payload["description"])
	}
	close(release)
	for e.payload["rid"] != asked {
		e = must(first.read())(t)
	}
	second.do("user:get", nil)
	if e := second.ask("conversation:events", value{"cid": con}); e.name != "conversation:events:success" {
		t.Errorf("when the first has left: %s %v", e.name, e.payload["description"])
	}
}

// TestTheNamespaceIsOpenedOnce, before anything else, and closed by the client.
func TestTheNamespaceIsOpenedOnce(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	c := n.newer(n.token("ann", time.Hour), "")
	c.next("session:success")
	for _, packet := range []string{"40", `42/admin,["user:get",{}]`, "43/admin,1[]", "40/admin,"} {
		if err := c.wire.send(packet); err != nil {
			t.Fatal(err)
		}
	}
	if e := must(c.read())(t); e.name != `packet 44/admin,{"message":"Invalid namespace"}` {
		t.Errorf("another namespace: %+v", e)
	}
	c.do("user:get", nil)
	if err := c.wire.send("41"); err != nil {
		t.Fatal(err)
	}
	c.ended()

	early := n.webSocket("/v2/rtc/?EIO=4&transport=websocket&token=" + n.token("ann", time.Hour))
	must(early.receive())(t) // the transport is open
	if err := early.send(`42["user:get",{"tid":"1","body":{}}]`); err != nil {
		t.Fatal(err)
	}
	if packet, err := early.receive(); err == nil && strings.HasPrefix(packet, "4") {
		t.Errorf("a request without a namespace is answered %s", packet)
	}
}

// TestWhoGuessesTokensIsRefusedUnread, also with a good one.
func TestWhoGuessesTokensIsRefusedUnread(t *testing.T) {
	n := newNode(t, tune{limits: func(o *limit.Options) { o.Rates[limit.Guess] = limit.Rate{PerSecond: 0.001, Burst: 2} }})
	n.users("ann")
	c := n.old()
	for i, want := range []string{"system:error:invalid-token", "system:error:invalid-token", "http:error:too-many-requests"} {
		if e := c.ask("session:login", value{"body": value{"token": "x.y.z"}}); e.name != want {
			t.Errorf("guess %d: %s", i, e.name)
		}
	}
	if e := c.ask("session:login", value{"body": value{"token": n.token("ann", time.Hour)}}); e.name != "http:error:too-many-requests" {
		t.Errorf("a good token: %s", e.name)
	}
}

// TestATokenWithoutASession has nothing to renew, and another user's renews nobody else's.
func TestATokenWithoutASession(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.HoldWithin = 20 * time.Millisecond }})
	n.users("ann", "bob")
	good := value{"body": value{"token": n.token("ann", time.Hour)}}
	if e := n.old().ask("session:update-token", good); e.name != "session:invalid" {
		t.Errorf("without a session: %s", e.name)
	}
	if e := n.login("bob", "4.0.2").ask("session:update-token", good); e.name != "system:error:invalid-token" {
		t.Errorf("of another user: %s", e.name)
	}
}

// TestWhatWaitsForALoginIsCounted like what comes after it.
func TestWhatWaitsForALoginIsCounted(t *testing.T) {
	n := newNode(t, tune{
		socket: func(o *socketio.Options) { o.HoldWithin = time.Hour },
		limits: func(o *limit.Options) { o.Rates[limit.Connection] = limit.Rate{PerSecond: 0.001, Burst: 3} },
	})
	n.users("ann")
	c := n.old()
	c.send("rtc:new", nil)
	for range 4 {
		c.send("user:get", nil)
	}
	n.loginOver(c, "ann", "4.0.2")
	var got []string
	for len(got) < 5 {
		got = append(got, must(c.read())(t).name)
	}
	want := "system:error:not-available user:get:success user:get:success http:error:too-many-requests http:error:too-many-requests"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
}

// TestOptions: each limit is checked, and the defaults are right.
func TestOptions(t *testing.T) {
	if err := socketio.DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*socketio.Options){
		"a time":    func(o *socketio.Options) { o.HoldWithin = 0 },
		"a count":   func(o *socketio.Options) { o.PostsInFlight = 0 },
		"a size":    func(o *socketio.Options) { o.AnswerBytesMax = 0 },
		"the depth": func(o *socketio.Options) { o.JSONDepth = 1 },
		"no logger": func(o *socketio.Options) { o.Logger = nil },
		"transport": func(o *socketio.Options) { o.Engine.CloseWithin = 0 },
	} {
		o := socketio.DefaultOptions()
		if change(&o); o.Validate() == nil {
			t.Errorf("%s is not checked", name)
		}
		if _, err := socketio.New(t.Context(), socketio.Parts{}, o); err == nil {
			t.Errorf("a handler is made with a wrong %s", name)
		}
	}
	if _, err := socketio.New(t.Context(), socketio.Parts{}, socketio.DefaultOptions()); err == nil {
		t.Error("a handler is made of nothing")
	}
}
