package engineio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parley/edge/engineio"
	"parley/edge/socket"
	"parley/internal/spent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every message with itself, and tells when it is closed.
type echo struct {
	conn   *engineio.Conn
	world  *world
	closed chan struct{}
}

func (e *echo) Message(content []byte) {
	if string(content) == "close" {
		e.conn.Close(socket.Bye)
		return
	}
	e.say(string(content))
}

func (e *echo) say(text string) { e.conn.Send(message(text)) }

func (e *echo) Due(now time.Time) time.Time {
	select {
	case e.world.due <- now:
	default: // nobody asks, and the clock must not wait
	}
	return time.Time{}
}

func (e *echo) Closed() { close(e.closed) }

func message(text string) []byte {
	return engineio.AppendMessage(nil, func(dst []byte) []byte { return append(dst, text...) })
}

// world is a server with its clients.
type world struct {
	t       *testing.T
	url     string
	metrics *prometheus.Registry
	due     chan time.Time
	client  *http.Client
	sockets *socket.Server
	server  *engineio.Server

	mu   sync.Mutex
	last *echo // guarded by mu
}

func newWorld(t *testing.T, tunes ...func(*engineio.Options)) *world {
	t.Helper()
	w := &world{t: t, metrics: prometheus.NewRegistry(), due: make(chan time.Time, 1), client: &http.Client{Transport: &http.Transport{}}}
	so := socket.DefaultOptions()
	so.HelloWithin, so.CloseWithin = time.Minute, time.Minute
	sockets, err := socket.New(t.Context(), so)
	if err != nil {
		t.Fatal(err)
	}
	o := engineio.DefaultOptions()
	o.Registerer, o.CloseWithin = w.metrics, time.Minute
	for _, change := range tunes {
		change(&o)
	}
	server, err := engineio.New(t.Context(), sockets, o, func(c *engineio.Conn, _ *http.Request) engineio.Handler {
		e := &echo{conn: c, world: w, closed: make(chan struct{})}
		w.mu.Lock()
		w.last = e
		w.mu.Unlock()
		return e
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(server)
	w.url, w.sockets, w.server = front.URL, sockets, server
	t.Cleanup(func() {
		ended, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 200*time.Millisecond)
		defer cancel()
		if err := sockets.Close(ended); err != nil {
			t.Error(err)
		}
		if err := server.Close(ended); err != nil {
			t.Error(err)
		}
		w.client.CloseIdleConnections()
		front.Close()
	})
	return w
}

// handler is what stands behind the last connection.
func (w *world) handler() *echo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(method, query, body string, change ...func(*http.Request)) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+"/rtc/?"+query, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(r)
	}
	res, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// open opens a polling connection and gives the query of its further requests.
func (w *world) open(version int) string {
	w.t.Helper()
	query := fmt.Sprintf("EIO=%d&transport=polling", version)
	a := w.do("GET", query, "")
	if a.status != 200 {
		w.t.Fatalf("%+v", a)
	}
	var hello struct{ Sid string }
	text := a.body[strings.IndexByte(a.body, '{'):]
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&hello); err != nil || hello.Sid == "" {
		w.t.Fatalf("%v in %s", err, a.body)
	}
	return query + "&sid=" + hello.Sid
}

func TestPolling(t *testing.T) {
	w := newWorld(t)
	q := w.open(3)
	if a := w.do("POST", q, "5:4👋é1:2"); a.body != "ok" || a.status != 200 { // 4👋é: 4 units; one unit too many
		if a.status != 400 {
			t.Fatalf("%+v", a)
		}
	}
	q = w.open(3)
	if a := w.do("POST", q, "4:4👋é6:2probe"); a.body != "ok" || a.status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := w.do("GET", q, ""); a.body != "4:4👋é6:3probe" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%+v", a)
	}
	// A poll that waits is answered as soon as there is something.
	got := make(chan answer, 1)
	var group sync.WaitGroup
	group.Go(func() { got <- w.do("GET", q, "") })
	w.handler().say("news")
	if a := <-got; a.body != "5:4news" {
		t.Fatalf("%+v", a)
	}
	group.Wait()
	if a := w.do("POST", q, "6:4close"); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := w.do("GET", q, ""); a.body != "1:1" {
		t.Fatalf("%+v", a)
	}
	<-w.handler().closed
	if a := w.do("GET", q, ""); a.status != 400 || a.body != `{"code":1,"message":"Session ID unknown"}`+"\n" {
		t.Fatalf("%+v", a)
	}
}

func TestPollingVersion4(t *testing.T) {
	w := newWorld(t)
	q := w.open(4)
	if a := w.do("POST", q, "4👋\x1e4b"); a.body != "ok" {
		t.Fatalf("%+v", a)
	}
	if a := w.do("GET", q, ""); a.body != "4👋\x1e4b" {
		t.Fatalf("%+v", a)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) { o.PollersMax = 4 })
	q := w.open(3)
	for _, tc := range []struct {
		name, method, query, body string
		status, code              int
	}{
		{"transport", "GET", "EIO=3&transport=pigeon", "", 400, 0},
		{"JSONP", "GET", "EIO=3&transport=polling&j=1", "", 400, 0},
		{"session", "GET", "EIO=3&transport=polling&sid=nobody", "", 400, 1},
		{"another version", "GET", strings.Replace(q, "EIO=3", "EIO=4", 1), "", 400, 1},
		{"handshake by POST", "POST", "EIO=3&transport=polling", "1:2", 400, 2},
		{"method", "PUT", q, "", 400, 3},
		{"version", "GET", "EIO=2&transport=polling", "", 400, 5},
		{"no version", "GET", "transport=polling", "", 400, 5},
	} {
		a := w.do(tc.method, tc.query, tc.body)
		var fault struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal([]byte(a.body), &fault); err != nil || a.status != tc.status || fault.Code != tc.code || fault.Message == "" {
			t.Errorf("%s: %+v", tc.name, a)
		}
	}
	if a := w.do("POST", q, "1:2"); a.status != 200 {
		t.Errorf("the connection did not survive: %+v", a)
	}
	for range 3 {
		w.open(3)
	}
	if a := w.do("GET", "EIO=3&transport=polling", ""); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %+v", a)
	}
}

func TestAnyOriginMayAsk(t *testing.T) {
	w := newWorld(t)
	from := func(r *http.Request) { r.Header.Set("Origin", "https://app.example") }
	for name, a := range map[string]answer{
		"handshake": w.do("GET", "EIO=3&transport=polling", "", from),
		"refusal":   w.do("GET", "EIO=3&transport=polling&sid=nobody", "", from),
		"preflight": w.do("OPTIONS", "EIO=3&transport=polling", "", from),
	} {
		if a.header.Get("Access-Control-Allow-Origin") != "https://app.example" || a.header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestHostilePayloads: each ends its own connection, cheaply.
func TestHostilePayloads(t *testing.T) {
	w := newWorld(t)
	for name, body := range map[string]string{
		"100,000 packets":            strings.Repeat("1:2", 100_000),
		"as many as fit":             strings.Repeat("1:2", (256<<10)/3),
		"a length without end":       "99999999999999999999:4",
		"larger than it may be":      "300000:4" + strings.Repeat("x", 300_000),
		"no packet":                  "0:",
		"an unknown packet":          "1:9",
		"a length that lies":         "1000:4x",
		"two packets and then noise": "1:21:2noise",
	} {
		var q string
		spent.Little(t, name, func() {
			q = w.open(3)
			if a := w.do("POST", q, body); a.status != 400 && a.status != 413 {
				t.Errorf("%s: %+v", name, a)
			}
		})
		if last := w.do("GET", q, ""); !strings.HasSuffix(last.body, "1:1") {
			t.Errorf("%s: the connection goes on: %+v", name, last)
		}
	}
}

func TestTwoPollsAtOnceEndTheConnection(t *testing.T) {
	w := newWorld(t)
	q := w.open(3)
	got := make(chan answer, 2)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { got <- w.do("GET", q, "") })
	}
	group.Wait()
	if a, b := <-got, <-got; a.status+b.status != 600 || !strings.Contains(a.body+b.body, "1:1") {
		t.Fatalf("%+v, %+v", a, b)
	}
	<-w.handler().closed
}

func TestSlowPollerIsGivenUp(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) { o.QueueBytesMax = 1000 })
	q := w.open(3)
	for range 3 {
		w.handler().say(strings.Repeat("x", 400))
	}
	if a := w.do("GET", q, ""); a.body != "1:1" {
		t.Fatalf("%+v", a)
	}
	<-w.handler().closed
	if dropped := testutil.ToFloat64(gather(t, w.metrics, "parley_engineio_dropped_bytes_total")); dropped < 800 {
		t.Errorf("%v bytes dropped", dropped)
	}
}

// gather finds a counter without labels.
func gather(t *testing.T, r *prometheus.Registry, name string) prometheus.Collector {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "found"})
			g.Set(f.Metric[0].GetCounter().GetValue())
			return g
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func TestSilentPollerIsClosed(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) {
		o.PingInterval, o.PingTimeout, o.PollWithin = 20*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond
	})
	w.do("GET", "EIO=3&transport=polling", "") // it may be over before it is told its name
	<-w.handler().closed
}

func TestQuietPollIsAnswered(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) { o.PollWithin = 10 * time.Millisecond })
	if a := w.do("GET", w.open(3), ""); a.body != "1:6" {
		t.Fatalf("%+v", a)
	}
}

func (w *world) dial(query string) *websocket.Conn {
	w.t.Helper()
	c, _, err := websocket.Dial(w.t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/rtc/?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c.SetReadLimit(8 << 20)
	w.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func (w *world) read(c *websocket.Conn) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err != nil {
		return "end: " + err.Error()
	}
	return string(text)
}

func (w *world) write(c *websocket.Conn, text string) {
	w.t.Helper()
	if err := c.Write(w.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) { o.PingInterval = 10 * time.Millisecond; o.PollWithin = time.Millisecond })
	old := w.dial("EIO=3&transport=websocket")
	if hello := w.read(old); !strings.HasPrefix(hello, `0{"sid":"`) || !strings.Contains(hello, `"upgrades":[],`) || strings.Contains(hello, "maxPayload") {
		t.Fatal(hello)
	}
	w.write(old, "2")
	w.write(old, "4hi")
	if a, b := w.read(old), w.read(old); a != "3" || b != "4hi" {
		t.Fatal(a, b)
	}
	w.write(old, "9")
	if end := w.read(old); !strings.Contains(end, "malformed") {
		t.Fatal(end)
	}
	// Version 4: the server pings.
	newer := w.dial("EIO=4&transport=websocket")
	if hello := w.read(newer); !strings.Contains(hello, `"maxPayload":`) {
		t.Fatal(hello)
	}
	if a := w.read(newer); a != "2" {
		t.Fatal(a)
	}
	w.write(newer, "3")
	w.handler().conn.Wake(time.Now())
	<-w.due
}

func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	q := w.open(3)
	h := w.handler()
	c := w.dial(strings.Replace(q, "polling", "websocket", 1))
	poll := make(chan answer, 1)
	var group sync.WaitGroup
	group.Go(func() { poll <- w.do("GET", q, "") })
	w.write(c, "2probe")
	if a := w.read(c); a != "3probe" {
		t.Fatal(a)
	}
	if a := <-poll; a.body != "1:6" {
		t.Fatalf("%+v", a)
	}
	group.Wait()
	h.say("queued meanwhile")
	w.write(c, "5")
	if a := w.read(c); a != "4queued meanwhile" {
		t.Fatal(a)
	}
	w.write(c, "4over the socket")
	if a := w.read(c); a != "4over the socket" {
		t.Fatal(a)
	}
	if a := w.do("GET", q, ""); a.status != 400 {
		t.Fatalf("the poller is still known: %+v", a)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	<-h.closed
}

func TestProbeThatNeverFinishesChangesNothing(t *testing.T) {
	w := newWorld(t)
	q := w.open(3)
	c := w.dial(strings.Replace(q, "polling", "websocket", 1))
	w.write(c, "4not yet")
	if end := w.read(c); !strings.HasPrefix(end, "end") {
		t.Fatal(end)
	}
	if a := w.do("POST", q, "5:4here"); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := w.do("GET", q, ""); a.body != "5:4here" {
		t.Fatalf("%+v", a)
	}
}

// TestWholeAnswers: an answer larger than the queue leaves, one at a time, and what is live goes
// on beside it.
func TestWholeAnswers(t *testing.T) {
	whole := bytes.Repeat([]byte("w"), 3<<20)
	t.Run("websocket", func(t *testing.T) {
		w := newWorld(t)
		c := w.dial("EIO=3&transport=websocket")
		w.read(c)
		h := w.handler()
		for i := range 3 {
			var group sync.WaitGroup
			group.Go(func() {
				if err := h.conn.SendWhole(t.Context(), message(string(whole))); err != nil {
					t.Error(err)
				}
				h.say("live")
			})
			if got := w.read(c); len(got) != len(whole)+1 {
				t.Fatalf("answer %d has %d bytes: %.60s", i, len(got), got)
			}
			if got := w.read(c); got != "4live" {
				t.Fatalf("%.60s", got)
			}
			group.Wait()
		}
	})
	t.Run("polling", func(t *testing.T) {
		w := newWorld(t)
		q := w.open(3)
		h := w.handler()
		if err := h.conn.SendWhole(t.Context(), message(string(whole))); err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.conn.SendWhole(ended, message(string(whole))); err == nil {
			t.Error("two at once")
		}
		h.say("live")
		if a := w.do("GET", q, ""); !strings.HasSuffix(a.body, "w5:4live") {
			t.Errorf("%d bytes", len(a.body))
		}
		if err := h.conn.SendWhole(t.Context(), message(string(whole))); err != nil {
			t.Fatal(err)
		}
	})
}
