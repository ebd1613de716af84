package ws_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parley/actors/api"
	"parley/actors/runtime"
	"parley/edge/auth"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/socket"
	"parley/edge/ws"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is one RSA key for all tests: making one is slow.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// node is a whole node with a native realtime edge on a real socket.
type node struct {
	t       testing.TB
	cluster *api.API
	sockets *socket.Server
	hub     *hub.Hub
	url     string
	app     string
	admin   *nodev1.Principal
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
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	so, ho, wo, lo := socket.DefaultOptions(), hub.DefaultOptions(), ws.DefaultOptions(), limit.DefaultOptions()
	so.Logger, ho.Logger, wo.Logger = log, log, log
	ho.Incarnation, wo.Node, so.CloseWithin = 1, "n1", time.Second
	for _, tn := range tunes {
		apply(tn.sockets, &so)
		apply(tn.hub, &ho)
		apply(tn.ws, &wo)
		apply(tn.limits, &lo)
	}
	sockets := must(socket.New(t.Context(), so))(t)
	h := must(hub.New(sockets.Pump(), ho))(t)

	ro := runtime.DefaultOptions()
	ro.DataDir, ro.NodeName, ro.Shards, ro.Edge = "data", "n1", 4, h
	ro.Logger, ro.Metrics = log, prometheus.NewRegistry()
	ro.Store.FS = vfs.NewMem()
	ro.Store.LogMemTableBytes, ro.Store.StateMemTableBytes, ro.Store.CacheBytes = 1<<20, 1<<20, 4<<20
	r := must(runtime.Open(t.Context(), ro))(t)
	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	h.Start(t.Context(), r.API())

	verifier := must(auth.New(r.API(), auth.DefaultOptions()))(t)
	limits := must(limit.New(lo))(t)
	handler := must(ws.New(t.Context(), ws.Parts{Cluster: r.API(), Sockets: sockets, Hub: h, Verifier: verifier, Limits: limits}, wo))(t)
	server := httptest.NewServer(handler)
	n := &node{t: t, cluster: r.API(), sockets: sockets, hub: h, app: id.New(id.Application),
		url: "ws" + strings.TrimPrefix(server.URL, "http") + "/v1/realtime"}
	t.Cleanup(func() {
		server.Close()
		ended, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
		defer cancel()
		for _, close := range []func() error{func() error { return sockets.Close(ended) }, handler.Close, h.Close, r.Close} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
	})
	n.makeApplication()
	return n
}

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

func (n *node) makeApplication() {
	der, err := x509.MarshalPKIXPublicKey(&key().PublicKey)
	if err != nil {
		n.t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	_, err = n.cluster.PutApplication(n.t.Context(), &eventv1.Application{Id: n.app, Name: "tests", PublicKey: public}, true)
	if err != nil {
		n.t.Fatal(err)
	}
	n.admin = &nodev1.Principal{ApplicationId: n.app, Admin: true}
}

// user makes a user.
func (n *node) user(name string) *eventv1.User {
	n.t.Helper()
	return must(n.cluster.CreateUser(n.t.Context(), n.admin, "", &eventv1.User{Name: name}))(n.t)
}

// conversation makes a conversation with users joined.
func (n *node) conversation(users ...*eventv1.User) string {
	n.t.Helper()
	c, _, err := n.cluster.CreateConversation(n.t.Context(), n.admin, "", &eventv1.Conversation{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, u := range users {
		n.join(c.Id, u)
	}
	return c.Id
}

func (n *node) join(conversation string, u *eventv1.User) *nodev1.Reply {
	n.t.Helper()
	return must(n.cluster.AddMember(n.t.Context(), n.admin, conversation, "", api.UserRef{ID: u.Id},
		&nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(`{"type":"app"}`)}))(n.t)
}

// token signs a user's token. The name "" is an administrator's.
func (n *node) token(name string, lasts time.Duration, more ...func(jwt.MapClaims)) string {
	n.t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{"application_id": n.app, "iat": now.Unix(), "jti": id.New(""), "exp": now.Add(lasts).Unix()}
	if name != "" {
		claims["sub"] = name
		claims["acl"] = map[string]any{"paths": map[string]any{"/*/sessions/**": map[string]any{}, "/*/users/**": map[string]any{}, "/*/conversations/**": map[string]any{}}}
	}
	for _, change := range more {
		change(claims)
	}
	return must(jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key()))(n.t)
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
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
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
