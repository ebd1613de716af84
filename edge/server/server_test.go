package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(admin string) Options {
	r := prometheus.NewRegistry()
	o := DefaultOptions()
	o.HTTPAddr, o.AdminAddr, o.Gatherer, o.Registerer = "127.0.0.1:0", admin, r, r
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	return o
}

func open(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

func handlers(ready bool, why string) Handlers {
	return Handlers{API: says("api"), Realtime: says("realtime"), Sockets: says("sockets"), Images: says("images"), Demo: says("demo"), Ready: func() (bool, string) { return ready, why }}
}

func get(t *testing.T, address net.Addr, path string) (int, string) {
	t.Helper()
	c := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r, err := c.Get("http://" + address.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body) + r.Header.Get("Location")
}

// TestPathsAreNotCleaned: what is no path, or has slashes and dots in a name, is answered by the API and not
// by a redirect, which browsers do not follow when the request has a token.
func TestPathsAreNotCleaned(t *testing.T) {
	s := open(t, options("127.0.0.1:0"))
	s.Mount(handlers(true, ""))
	for _, path := range []string{"//v1/users", "/v1//users", "/v0.3/users/%2E%2E", "/v0.3/users/a%2F%2Fb", "/v1/image/../users", "/v1/./users/", "//rtc/", "/%2E%2E/"} {
		if status, what := get(t, s.Addr(), path); status != 200 || what != "api" {
			t.Errorf("%s: %d %s", path, status, what)
		}
	}
	for path, want := range map[string]string{"/rtc/": "sockets", "/v1/image/x": "images", "/v1/users/": "api"} {
		if status, what := get(t, s.Addr(), path); status != 200 || what != want {
			t.Errorf("%s: %d %s", path, status, what)
		}
	}
}

func TestBeforeMount(t *testing.T) {
	s := open(t, options("127.0.0.1:0"))
	for _, a := range []net.Addr{s.Addr(), s.AdminAddr()} {
		for path, want := range map[string]int{"/healthz": 200, "/metrics": 200, "/readyz": 503, "/v1/users": 503, "/": 503} {
			if got, _ := get(t, a, path); got != want {
				t.Errorf("%s: %d, want %d", path, got, want)
			}
		}
		if _, why := get(t, a, "/readyz"); !strings.Contains(why, "starting") {
			t.Errorf("why: %q", why)
		}
	}
}

func TestMounted(t *testing.T) {
	s := open(t, options("127.0.0.1:0"))
	s.Mount(handlers(true, ""))
	for path, want := range map[string]string{
		"/v1/users": "api", "/docs": "api", "/openapi.json": "api", "/v1/realtime": "realtime", "/demo": "demo",
		"/demo/style.css": "demo", "/demos": "api", "/healthz": "alive\n", "/readyz": "ready\n",
	} {
		if code, got := get(t, s.Addr(), path); code != 200 || got != want {
			t.Errorf("%s: %d %q, want %q", path, code, got, want)
		}
	}
	if code, got := get(t, s.Addr(), "/"); code != 302 || !strings.HasSuffix(got, "/demo") {
		t.Errorf("/: %d %q", code, got)
	}
	if code, got := get(t, s.Addr(), "/metrics"); code != 200 || !strings.Contains(got, "parley_edge_http_connections_accepted_total") {
		t.Errorf("/metrics: %d %q", code, got)
	}
	if code, _ := get(t, s.AdminAddr(), "/readyz"); code != 200 {
		t.Errorf("admin /readyz: %d", code)
	}
	if code, _ := get(t, s.AdminAddr(), "/v1/users"); code != 503 {
		t.Errorf("the admin address serves clients: %d", code)
	}
}

func TestANodeWithoutAnEdgeSaysSo(t *testing.T) {
	s := open(t, options(""))
	s.Mount(Handlers{Cluster: says("operators"), Ready: func() (bool, string) { return true, "" }})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/cluster/status": 200,
		"/v1/users": 421, "/v1/realtime": 421, "/rtc/": 421, "/v1/image": 421, "/demo": 421, "/": 421, "/docs": 421} {
		got, body := get(t, s.Addr(), path)
		if got != want || got == 421 && !strings.Contains(body, "node with the role edge") {
			t.Errorf("%s: %d %s, want %d", path, got, body, want)
		}
	}
}

func TestReadyTellsWhyNot(t *testing.T) {
	s := open(t, options(""))
	s.Mount(handlers(false, "shard 7 has no leader"))
	if code, why := get(t, s.Addr(), "/readyz"); code != 503 || why != "shard 7 has no leader\n" {
		t.Errorf("%d %q", code, why)
	}
	if s.AdminAddr() != nil {
		t.Errorf("admin address %v", s.AdminAddr())
	}
}

func TestDrainAndClose(t *testing.T) {
	o := options("")
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	h := handlers(true, "")
	h.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "done")
	})
	s.Mount(h)
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, s.Addr(), "/slow")
		answer <- body
	}()
	<-arrived
	s.Drain()
	if code, _ := get(t, s.Addr(), "/readyz"); code != 503 {
		t.Errorf("draining, yet ready: %d", code)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestCloseCutsWhatDoesNotEnd(t *testing.T) {
	s, err := Open(options(""))
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	h := handlers(true, "")
	h.API = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	s.Mount(h)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if r, err := c.Get("http://" + s.Addr().String() + "/stuck"); err == nil {
			r.Body.Close()
		}
	}()
	<-arrived
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("got %v", err)
	}
	<-ended
}

func TestAddressInUse(t *testing.T) {
	s := open(t, options(""))
	o := options("")
	o.HTTPAddr = s.Addr().String()
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "http-addr") {
		t.Errorf("got %v", err)
	}
	o = options(s.Addr().String())
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "admin-addr") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"address": func(o *Options) { o.HTTPAddr = "" }, "limit": func(o *Options) { o.IdleTimeout = 0 },
		"logger": func(o *Options) { o.Logger = nil }, "gatherer": func(o *Options) { o.Gatherer = nil },
	} {
		o := options("")
		change(&o)
		if _, err := Open(o); err == nil {
			t.Errorf("%s missing, yet accepted", name)
		}
	}
}
