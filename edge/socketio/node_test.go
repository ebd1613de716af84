package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parley/actors/api"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/receipt"
	"parley/edge/socket"
	"parley/edge/socketio"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
	"parley/test/solo/edge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a whole node with both socket paths on a real port.
type node struct {
	t       testing.TB
	cluster *api.Service
	sockets *socket.Server
	hub     *hub.Hub
	gate    *gate.Gate
	handler *socketio.Handler
	metrics *prometheus.Registry
	url     string // http://…
	tenant  *solo.Tenant
	app     string            // the tenant's
	admin   *nodev1.Principal // the tenant's
}

// tune changes the options of a node before it starts.
type tune struct {
	sockets func(*socket.Options)
	socket  func(*socketio.Options)
	receipt func(*receipt.Options)
	limits  func(*limit.Options)
	gate    func(*gate.Options)
	hub     func(*hub.Options)
	cluster func(api.Cluster) api.Cluster // what the handler asks in place of the node's own
}

func newNode(t testing.TB, tunes ...tune) *node {
	t.Helper()
	o, wo, ro, g := edge.DefaultOptions(t), socketio.DefaultOptions(), receipt.DefaultOptions(), gate.DefaultOptions()
	metrics := prometheus.NewRegistry()
	wo.Logger, wo.Engine.CloseWithin = o.Node.Logger, time.Second
	wo.CommandWithin, wo.TurnWithin, wo.HoldWithin, wo.SyncWithin = solo.Patience, solo.Patience, solo.Patience, solo.Patience
	o.Sockets.Registerer, o.Hub.Registerer, wo.Registerer, g.Registerer = metrics, metrics, metrics, metrics
	for _, tn := range tunes {
		apply(tn.sockets, &o.Sockets)
		apply(tn.hub, &o.Hub)
		apply(tn.socket, &wo)
		apply(tn.receipt, &ro)
		apply(tn.limits, &o.Limits)
		apply(tn.gate, &g)
	}
	e := edge.Open(t, o)
	var cluster api.Cluster = e.Node.API()
	for _, tn := range tunes {
		if tn.cluster != nil {
			cluster = tn.cluster(cluster)
		}
	}
	queue := must(receipt.New(t.Context(), cluster, ro))(t)
	door := must(gate.New(t.Context(), g))(t)
	handler := must(socketio.New(t.Context(), socketio.Parts{
		Cluster: cluster, Sockets: e.Sockets, Hub: e.Hub, Verifier: e.Verifier, Limits: e.Limits, Receipts: queue, Gate: door}, wo))(t)
	mux := http.NewServeMux()
	mux.Handle("/rtc/{$}", handler)
	mux.Handle("/v2/rtc/{$}", handler)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		e.Close(func(ctx context.Context) error { return errors.Join(handler.Close(ctx), queue.Close(), door.Close()) })
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	tenant := solo.NewTenant(t, e.Node.API(), "")
	return &node{t: t, cluster: e.Node.API(), sockets: e.Sockets, hub: e.Hub, gate: door, handler: handler, metrics: metrics,
		url: server.URL, tenant: tenant, app: tenant.ID, admin: tenant.Admin}
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

// users makes users.
func (n *node) users(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.tenant.User(&eventv1.User{Name: name, DisplayName: strings.ToUpper(name)})
	}
}

// conversation makes a conversation with users joined.
func (n *node) conversation(names ...string) string {
	n.t.Helper()
	c := n.tenant.Conversation(&eventv1.Conversation{DisplayName: "Tea"})
	for _, name := range names {
		n.join(c, name)
	}
	return c
}

func (n *node) join(conversation, name string) string {
	n.t.Helper()
	return n.tenant.Join(conversation, refOf(name)).Member.Id
}

// post posts a text as a user, past the socket.
func (n *node) post(conversation, name, text string) uint64 {
	n.t.Helper()
	u := must(n.cluster.GetUser(n.t.Context(), n.admin, api.UserRef{Name: name}))(n.t)
	body := must(json.Marshal(map[string]string{"text": text}))(n.t)
	p := &nodev1.Principal{ApplicationId: n.app, UserId: u.Id, UserName: name}
	r := must(n.cluster.Post(n.t.Context(), p, conversation, "", &nodev1.PostEvent{Type: "text", Body: body}))(n.t)
	return r.Event.Event.Sequence
}

// token signs a user's token. The name "" is an administrator's.
func (n *node) token(name string, lasts time.Duration) string {
	n.t.Helper()
	return n.tenant.Token(name, lasts, nil)
}

// value is a decoded payload.
type value map[string]any

func (v value) at(path ...string) any {
	var now any = map[string]any(v)
	for _, name := range path {
		switch x := now.(type) {
		case map[string]any:
			now = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(x) {
				return nil
			}
			now = x[i]
		default:
			return nil
		}
	}
	return now
}

// event is one event of the server.
type event struct {
	name    string
	ack     string
	payload value
}

// wire moves packets, by WebSocket or by polling.
type wire interface {
	send(packet string) error
	receive() (packet string, err error)
	close()
}

// client speaks Socket.IO over a wire.
type client struct {
	t       testing.TB
	wire    wire
	version int
	acks    bool // acknowledges as the newer SDKs do
	rid     int
	pending []event
	opened  value
}

// webSocket is the wire that most SDKs use.
type webSocket struct {
	t    testing.TB
	conn *websocket.Conn
}

func (w *webSocket) send(packet string) error {
	return w.conn.Write(w.t.Context(), websocket.MessageText, []byte(packet))
}

func (w *webSocket) receive() (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	_, text, err := w.conn.Read(ctx)
	return string(text), err
}

func (w *webSocket) close() { _ = w.conn.CloseNow() }

func (n *node) webSocket(pathAndQuery string) *webSocket {
	n.t.Helper()
	conn, _, err := websocket.Dial(n.t.Context(), "ws"+strings.TrimPrefix(n.url, "http")+pathAndQuery, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	return &webSocket{n.t, conn}
}

// polling is the wire of the oldest SDKs.
type polling struct {
	t     testing.TB
	url   string // with sid
	queue []string
}

func (n *node) polling() *polling {
	n.t.Helper()
	p := &polling{t: n.t, url: n.url + "/rtc/?EIO=3&transport=polling"}
	packet := must(p.receive())(n.t)
	var hello value
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "0")), &hello); err != nil {
		n.t.Fatalf("%v in %s", err, packet)
	}
	p.url += "&sid=" + url.QueryEscape(hello["sid"].(string))
	p.queue = slices.Insert(p.queue, 0, packet)
	return p
}

func (p *polling) send(packet string) error {
	_, err := p.request("POST", strconv.Itoa(len([]rune(packet)))+":"+packet)
	return err
}

func (p *polling) receive() (string, error) {
	for len(p.queue) == 0 {
		body, err := p.request("GET", "")
		if err != nil {
			return "", err
		}
		for rest := []rune(body); len(rest) > 0; { // the tests send nothing beyond the first plane
			head, _, _ := strings.Cut(string(rest), ":")
			length := must(strconv.Atoi(head))(p.t)
			start := len(head) + 1
			p.queue = append(p.queue, string(rest[start:start+length]))
			rest = rest[start+length:]
		}
	}
	packet := p.queue[0]
	p.queue = p.queue[1:]
	return packet, nil
}

func (p *polling) request(method, body string) (string, error) {
	r := must(http.NewRequestWithContext(p.t.Context(), method, p.url, strings.NewReader(body)))(p.t)
	r.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	r.Header.Set("Origin", "https://app.example")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = io.ErrUnexpectedEOF
	}
	return string(text), err
}

func (p *polling) close() {}

// old connects as an SDK before 5 does.
func (n *node) old() *client {
	n.t.Helper()
	return n.connect(n.webSocket("/rtc/?EIO=3&transport=websocket"), 3)
}

// connect waits for the namespace of version 3.
func (n *node) connect(w wire, version int) *client {
	n.t.Helper()
	c := &client{t: n.t, wire: w, version: version}
	packet := must(w.receive())(n.t)
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "0")), &c.opened); err != nil || packet[0] != '0' {
		n.t.Fatalf("%v in %s", err, packet)
	}
	if version == 4 {
		if err := w.send("40"); err != nil {
			n.t.Fatal(err)
		}
	}
	if packet = must(w.receive())(n.t); !strings.HasPrefix(packet, "40") {
		n.t.Fatalf("in place of CONNECT: %s", packet)
	}
	return c
}

// login logs in as an SDK of a version does.
func (n *node) login(name, version string) *client {
	n.t.Helper()
	return n.loginOver(n.old(), name, version)
}

func (n *node) loginOver(c *client, name, version string) *client {
	n.t.Helper()
	got := c.ask("session:login", value{"body": value{"token": n.token(name, time.Hour), "SDK_version": version, "OS_family": "js"}})
	if got.name != "session:success" {
		n.t.Fatalf("login: %v", got)
	}
	return c
}

// newer connects as SDKs from 5 on do; the session's id, when not empty, is to be resumed.
func (n *node) newer(token, session string) *client {
	n.t.Helper()
	q := "EIO=4&transport=websocket&token=" + url.QueryEscape(token)
	if session != "" {
		q += "&session_id=" + session
	} else {
		q += "&SDK_version=9.5.1&session_version=0.0.1&acknowledge_events=true&OS_family=js"
	}
	c := n.connect(n.webSocket("/v2/rtc/?"+q), 4)
	c.acks = true
	return c
}

// packet gives the next packet that is not a ping of the transport.
func (c *client) packet() (string, error) {
	for {
		p, err := c.wire.receive()
		if err != nil {
			return "", err
		}
		switch {
		case c.version == 4 && p == "2":
			if err := c.wire.send("3"); err != nil {
				return "", err
			}
		case p == "6":
		default:
			return p, nil
		}
	}
}

// read gives the next event.
func (c *client) read() (event, error) {
	p, err := c.packet()
	if err != nil {
		return event{}, err
	}
	if !strings.HasPrefix(p, "42") {
		return event{name: "packet " + p}, nil
	}
	return c.decode(p[2:])
}

func (c *client) decode(text string) (event, error) {
	start := strings.IndexByte(text, '[')
	e := event{ack: text[:start]}
	var arguments []json.RawMessage
	if err := json.Unmarshal([]byte(text[start:]), &arguments); err != nil || len(arguments) != 2 {
		c.t.Fatalf("%v in %s", err, text)
	}
	if err := json.Unmarshal(arguments[0], &e.name); err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(arguments[1], &e.payload); err != nil {
		c.t.Fatalf("the payload of %s is no object: %s", e.name, arguments[1])
	}
	if e.ack != "" && c.acks {
		return e, c.wire.send("43" + e.ack + "[]")
	}
	return e, nil
}

// send sends a request without waiting, and gives its rid, which is the payload's tid if it has one.
func (c *client) send(name string, payload value) any {
	c.t.Helper()
	c.rid++
	rid := "rid-" + strconv.Itoa(c.rid)
	full := value{"tid": rid}
	for k, v := range payload {
		full[k] = v
	}
	text := must(json.Marshal([]any{name, full}))(c.t)
	if err := c.wire.send("42" + string(text)); err != nil {
		c.t.Fatal(err)
	}
	return full["tid"]
}

// ask sends a request and gives its answer; what comes before it is kept.
func (c *client) ask(name string, payload value) event {
	c.t.Helper()
	rid := c.send(name, payload)
	for {
		e, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for the answer to %s: %v", name, err)
		}
		if e.payload["rid"] == rid {
			return e
		}
		c.pending = append(c.pending, e)
	}
}

// do asks and wants success.
func (c *client) do(name string, payload value) value {
	c.t.Helper()
	e := c.ask(name, payload)
	if e.name != name+":success" {
		c.t.Fatalf("%s was answered %s %v", name, e.name, e.payload)
	}
	body, _ := e.payload["body"].(map[string]any)
	return body
}

// next gives the next event of a name; others are dropped.
func (c *client) next(name string) event {
	c.t.Helper()
	for {
		var e event
		if len(c.pending) > 0 {
			e, c.pending = c.pending[0], c.pending[1:]
		} else {
			var err error
			if e, err = c.read(); err != nil {
				c.t.Fatalf("waiting for %s: %v", name, err)
			}
		}
		if e.name == name {
			return e
		}
	}
}

// ended reads to the end of the connection and gives what came.
func (c *client) ended() []event {
	c.t.Helper()
	events := c.pending
	c.pending = nil
	for {
		e, err := c.read()
		if err != nil {
			if c.t.Context().Err() != nil || strings.Contains(err.Error(), "deadline") {
				c.t.Fatalf("the connection did not end; it said %v", events)
			}
			return events
		}
		events = append(events, e)
	}
}

func refOf(name string) api.UserRef { return api.UserRef{Name: name} }

func invite() *nodev1.AddMember {
	return &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_INVITE, Channel: []byte(`{"type":"app"}`)}
}
