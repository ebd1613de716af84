package socketio_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/actors/api"
	"parley/edge/gate"
	"parley/edge/socketio"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// held is a cluster in which logins wait, for their users' conversations, until the test lets them go on.
type held struct {
	api.Cluster
	began chan string   // the user of each that waits
	goOn  chan struct{} // closed: they do not any more
	free  atomic.Value  // a user whose lists do not wait: a session may list again what it is not sure of
}

func (h *held) ListMemberships(ctx context.Context, p *nodev1.Principal, user string, page *nodev1.Page, states []eventv1.MemberState) (*nodev1.Reply, error) {
	if user != h.free.Load() {
		select {
		case h.began <- user:
			<-h.goOn
		case <-h.goOn:
		}
	}
	return h.Cluster.ListMemberships(ctx, p, user, page, states)
}

// inside bounds who is worked on at once, exactly, and has those who are sent away come again soon.
func inside(most int) tune {
	return tune{gate: func(o *gate.Options) {
		o.InsideMin, o.InsideMax, o.TurnMax, o.WaitMax = most, most, time.Hour, 2*time.Second
	}}
}

// nowhere leaves no room to wait in.
var nowhere = tune{gate: func(o *gate.Options) { o.WaitingMax = 0 }}

// TestACrowdOfLoginsWaitsItsTurn: of many logins of both generations at once only a few are worked on; the
// others stand in line while whoever is connected goes on, and come in one after the other.
func TestACrowdOfLoginsWaitsItsTurn(t *testing.T) {
	const most, crowd = 2, 12
	h := &held{began: make(chan string), goOn: make(chan struct{})}
	n := newNode(t, inside(most), tune{
		cluster: func(c api.Cluster) api.Cluster { h.Cluster = c; return h },
		socket: func(o *socketio.Options) {
			o.TurnWithin, o.SyncWithin, o.CommandWithin = time.Hour, time.Hour, time.Hour
		},
	})
	release := sync.OnceFunc(func() { close(h.goOn) })
	t.Cleanup(release)
	h.free.Store(n.tenant.User(&eventv1.User{Name: "ann"}).Id)
	con := n.conversation("ann")
	ann := n.login("ann", "4.0.2")
	var open []func() *client // connected, and about to log in
	for i := range crowd {
		name := fmt.Sprint("u", i)
		n.users(name)
		token := n.token(name, time.Hour)
		if i%2 == 0 {
			w := n.webSocket("/v2/rtc/?EIO=4&transport=websocket&token=" + url.QueryEscape(token))
			open = append(open, func() *client { return n.connect(w, 4) })
			continue
		}
		c := n.old()
		open = append(open, func() *client {
			c.send("session:login", value{"body": value{"token": token, "SDK_version": "2.0.5"}})
			return c
		})
	}
	var all []*client
	for _, logIn := range open {
		all = append(all, logIn())
	}
	for range most {
		<-h.began
	}
	n.await("somebody stands in line", func() bool {
		select {
		case user := <-h.began:
			t.Fatalf("more are let in than there may be: %s", user)
		default:
		}
		return n.metric("parley_gate_waiting_arrivals") > 0
	})
	ann.do("text", value{"cid": con, "body": value{"text": "as ever"}})
	release()
	for _, c := range all {
		if e := must(c.read())(t); e.name != "session:success" {
			t.Errorf("%+v", e)
		}
	}
}

// await waits for what happens by itself.
func (n *node) await(what string, holds func() bool) {
	n.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !holds(); <-tick.C {
		if time.Since(began) > time.Minute {
			n.t.Fatalf("not in a minute: %s", what)
		}
	}
}

// metric is the sum of a metric's values over its labels; 0 when it is not there.
func (n *node) metric(name string) (sum float64) {
	for _, family := range must(n.metrics.Gather())(n.t) {
		if family.GetName() == name {
			for _, m := range family.Metric {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestWhoIsNotLetInNow: at /rtc/ a login is refused and the connection goes on, at /v2/rtc/ the connection
// is lost without a word, which its SDKs try again; a connection is let in all the same.
func TestWhoIsNotLetInNow(t *testing.T) {
	const most = 8
	n := newNode(t, inside(most), nowhere, tune{socket: func(o *socketio.Options) { o.TurnWithin = time.Millisecond }})
	n.users("ann")
	leave := n.occupy(most)
	old := n.old()
	login := value{"body": value{"token": n.token("ann", time.Hour), "SDK_version": "4.0.2"}}
	if e := old.ask("session:login", login); e.name != "system:error:unavailable" || e.payload["retry_after_ms"] == nil {
		t.Errorf("at /rtc/: %+v", e)
	}
	for _, session := range []string{"", "SES-2b0d7a5e-5e1e-4b5e-9a5e-0c5f4f1d2a11"} {
		w := n.webSocket("/v2/rtc/?EIO=4&transport=websocket&session_id=" + session + "&token=" + url.QueryEscape(n.token("ann", time.Hour)))
		c := n.connect(w, 4)
		e, err := c.read()
		if websocket.CloseStatus(err) != 4002 {
			t.Errorf("at /v2/rtc/: %+v, %v", e, err)
		}
	}
	leave()
	if e := old.ask("session:login", login); e.name != "session:success" {
		t.Errorf("at /rtc/, when there is room: %+v", e)
	}
	if e := must(n.newer(n.token("ann", time.Hour), "").read())(t); e.name != "session:success" {
		t.Errorf("at /v2/rtc/, when there is room: %+v", e)
	}
}

// TestALoginThatIsSentAwayComesAgain by the node's own doing: its client would not.
func TestALoginThatIsSentAwayComesAgain(t *testing.T) {
	n := newNode(t, inside(1), nowhere, tune{socket: func(o *socketio.Options) { o.TurnWithin = time.Hour }})
	n.users("ann")
	c := n.old()
	leave := n.occupy(1)
	before := n.metric("parley_gate_refused_total")
	c.send("session:login", value{"body": value{"token": n.token("ann", time.Hour), "SDK_version": "4.0.2"}})
	n.await("the login is sent away", func() bool { return n.metric("parley_gate_refused_total") > before })
	leave()
	if e := must(c.read())(t); e.name != "session:success" {
		t.Errorf("%+v", e)
	}
}

// occupy takes all places at the gate, also one that a connection is about to leave.
func (n *node) occupy(places int) (leave func()) {
	n.t.Helper()
	var taken []func()
	for range places {
		taken = append(taken, must(n.gate.Insist(n.t.Context(), gate.Login))(n.t))
	}
	return func() {
		for _, leave := range taken {
			leave()
		}
	}
}

// TestALoginReadsItsUserOnce: verifying the token has read it.
func TestALoginReadsItsUserOnce(t *testing.T) {
	var read userReads
	n := newNode(t, tune{cluster: func(c api.Cluster) api.Cluster { read.Cluster = c; return &read }})
	n.users("ann")
	c := n.newer(n.token("ann", time.Hour), "")
	if e := c.next("session:success"); e.payload.at("body", "name") != "ann" || read.times.Load() != 0 {
		t.Errorf("%+v, read %d times more", e, read.times.Load())
	}
}

// userReads counts the reads of users that are not a token's.
type userReads struct {
	api.Cluster
	times atomic.Int32
}

func (u *userReads) GetUser(ctx context.Context, p *nodev1.Principal, ref api.UserRef) (*eventv1.User, error) {
	u.times.Add(1)
	return u.Cluster.GetUser(ctx, p, ref)
}

// deadlines is held, and tells by when a client's question for a conversation is to be answered.
type deadlines struct {
	*held
	told chan time.Time
}

func (d *deadlines) GetConversation(ctx context.Context, p *nodev1.Principal, conversation string, full bool) (*nodev1.Reply, error) {
	if by, _ := ctx.Deadline(); full {
		d.told <- by
	}
	return d.Cluster.GetConversation(ctx, p, conversation, full)
}

// TestALoginHasOneDeadline, to the last of the requests that waited for it: the client's ping waits behind them.
func TestALoginHasOneDeadline(t *testing.T) {
	const within = time.Hour
	d := &deadlines{&held{began: make(chan string), goOn: make(chan struct{})}, make(chan time.Time, 1)}
	n := newNode(t, tune{
		cluster: func(c api.Cluster) api.Cluster { d.Cluster = c; return d },
		socket: func(o *socketio.Options) {
			o.TurnWithin, o.SyncWithin, o.CommandWithin, o.HoldWithin = time.Nanosecond, time.Hour, within, time.Hour
		},
	})
	release := sync.OnceFunc(func() { close(d.goOn) })
	t.Cleanup(release)
	n.users("ann")
	con := n.conversation("ann")
	c := n.old()
	asked := c.send("conversation:get", value{"cid": con, "body": value{}})
	c.send("session:login", value{"body": value{"token": n.token("ann", time.Hour), "SDK_version": "4.0.2"}})
	<-d.began
	going := time.Now() // the login has begun before
	release()
	if by := <-d.told; !by.Before(going.Add(within)) {
		t.Errorf("what was held has %v more than the login", by.Sub(going.Add(within)))
	}
	for e := (event{}); e.payload["rid"] != asked; {
		e = must(c.read())(t)
	}
}
