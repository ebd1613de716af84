package ws_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"parley/actors/api"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/receipt"
	"parley/edge/socket"
	"parley/edge/ws"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
	"parley/test/solo/edge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a whole node with a native realtime edge on a real socket.
type node struct {
	t       testing.TB
	cluster *api.Service
	sockets *socket.Server
	hub     *hub.Hub
	url     string
	tenant  *solo.Tenant
	app     string            // the tenant's
	admin   *nodev1.Principal // the tenant's
}

// tune changes the options of a node before it starts.
type tune struct {
	sockets func(*socket.Options)
	ws      func(*ws.Options)
	limits  func(*limit.Options)
	hub     func(*hub.Options)
}

func newNode(t *testing.T, tunes ...tune) *node {
	t.Helper()
	o, wo := edge.DefaultOptions(t), ws.DefaultOptions()
	wo.Logger, wo.Node, wo.CommandWithin = o.Node.Logger, o.Node.NodeName, solo.Patience
	for _, tn := range tunes {
		apply(tn.sockets, &o.Sockets)
		apply(tn.hub, &o.Hub)
		apply(tn.ws, &wo)
		apply(tn.limits, &o.Limits)
	}
	e := edge.Open(t, o)
	n, handler, stop := serve(t, e, wo)
	t.Cleanup(func() {
		stop()
		e.Close(handler)
	})
	n.belong(solo.NewTenant(t, n.cluster, ""))
	return n
}

// serve puts the native protocol before an edge. handler closes it, stop the server before it.
func serve(t testing.TB, e *edge.Edge, o ws.Options) (n *node, handler func(context.Context) error, stop func()) {
	t.Helper()
	queue := must(receipt.New(t.Context(), e.Node.API(), receipt.DefaultOptions()))(t)
	door := must(gate.New(t.Context(), gate.DefaultOptions()))(t)
	h := must(ws.New(t.Context(), ws.Parts{Cluster: e.Node.API(), Sockets: e.Sockets, Hub: e.Hub,
		Verifier: e.Verifier, Limits: e.Limits, Receipts: queue, Gate: door}, o))(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client := r.Header.Get("X-Forwarded-For"); client != "" { // as edge/server does behind a load balancer
			r.RemoteAddr = net.JoinHostPort(client, "0")
		}
		h.ServeHTTP(w, r)
	}))
	n = &node{t: t, cluster: e.Node.API(), sockets: e.Sockets, hub: e.Hub,
		url: "ws" + strings.TrimPrefix(server.URL, "http") + "/v1/realtime"}
	return n, func(context.Context) error { return errors.Join(h.Close(), queue.Close(), door.Close()) }, server.Close
}

// belong has n's users be those of a tenant.
func (n *node) belong(to *solo.Tenant) { n.tenant, n.app, n.admin = to, to.ID, to.Admin }

func apply[T any](change func(*T), to *T) {
	if change != nil {
		change(to)
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// user makes a user.
func (n *node) user(name string) *eventv1.User {
	n.t.Helper()
	return n.tenant.User(&eventv1.User{Name: name})
}

// conversation makes a conversation with users joined.
func (n *node) conversation(users ...*eventv1.User) string {
	n.t.Helper()
	c := n.tenant.Conversation(&eventv1.Conversation{})
	for _, u := range users {
		n.join(c, u)
	}
	return c
}

func (n *node) join(conversation string, u *eventv1.User) *nodev1.Reply {
	n.t.Helper()
	return n.tenant.Join(conversation, api.UserRef{ID: u.Id})
}

// token signs a user's token. The name "" is an administrator's.
func (n *node) token(name string, lasts time.Duration) string {
	n.t.Helper()
	return n.tenant.Token(name, lasts, nil)
}

// client is a JSON client.
type client struct {
	t    testing.TB
	conn *websocket.Conn
	// events received while something else was awaited, in order.
	pending []frame
}

// frame is a decoded server frame.
type frame map[string]any

func (n *node) dial(subprotocol string) *client {
	n.t.Helper()
	conn, err := n.open(subprotocol)
	if err != nil {
		n.t.Fatal(err)
	}
	return &client{t: n.t, conn: conn}
}

// open dials, from any goroutine.
func (n *node) open(subprotocol string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(n.t.Context(), n.url, &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(8 << 20)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, nil
}

// login dials and says hello.
func (n *node) login(name string) *client {
	n.t.Helper()
	c := n.dial("parley.v1.json")
	if w := c.ask(frame{"type": "hello", "id": "hello", "token": n.token(name, time.Hour)}); w["type"] != "welcome" {
		n.t.Fatalf("hello: %v", w)
	}
	return c
}

func (c *client) send(f frame) {
	c.t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, text); err != nil {
		c.t.Fatal(err)
	}
}

// read gives the next frame as it comes from the wire.
func (c *client) read() (frame, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*solo.Patience)
	defer cancel()
	_, text, err := c.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		c.t.Fatalf("%v in %s", err, text)
	}
	return f, nil
}

// ask sends a request and gives its answer; what comes before it is kept.
func (c *client) ask(f frame) frame {
	c.t.Helper()
	c.send(f)
	for {
		got, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for the answer to %v: %v", f, err)
		}
		if got["id"] == f["id"] {
			return got
		}
		c.pending = append(c.pending, got)
	}
}

// try is ask without failing: nil when the connection ends first, from any goroutine.
func (c *client) try(f frame) frame {
	text, err := json.Marshal(f)
	if err != nil || c.conn.Write(c.t.Context(), websocket.MessageText, text) != nil {
		return nil
	}
	for {
		got, err := c.read()
		if err != nil || got["id"] == f["id"] {
			return got
		}
	}
}

// next gives the next frame of a type; others are dropped.
func (c *client) next(kind string) frame {
	c.t.Helper()
	for len(c.pending) > 0 {
		f := c.pending[0]
		c.pending = c.pending[1:]
		if f["type"] == kind {
			return f
		}
	}
	for {
		f, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", kind, err)
		}
		if f["type"] == kind {
			return f
		}
	}
}

// closed reads to the end and gives the close code; errors seen before are returned too.
func (c *client) closed() (websocket.StatusCode, []frame) {
	c.t.Helper()
	var errors []frame
	for {
		f, err := c.read()
		if err != nil {
			return websocket.CloseStatus(err), errors
		}
		if f["type"] == "error" {
			errors = append(errors, f)
		}
	}
}

// sequences reads n events of subscriptions.
func (c *client) sequences(n int) []uint64 {
	c.t.Helper()
	var list []uint64
	for len(list) < n {
		for _, e := range c.next("events")["events"].([]any) {
			list = append(list, uint64(e.(map[string]any)["sequence"].(float64)))
		}
	}
	return list
}
