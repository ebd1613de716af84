package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/cmd/parley/settings"
	"parley/internal/telemetry"
)

// memberlist does not wait for a probe that it has begun; it ends by its own timeout.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

func options(t *testing.T, dir string) Options {
	s := settings.Default()
	s.DataDir, s.HTTPAddr, s.GossipAddr, s.RPCAddr, s.RaftAddr = dir, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return Options{Settings: s, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func open(t *testing.T, o Options) *Node {
	t.Helper()
	n, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func closeNode(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestNodeKeepsItsName(t *testing.T) {
	dir := t.TempDir()
	n := open(t, options(t, dir))
	name := n.name
	closeNode(t, n)
	n = open(t, options(t, dir))
	if n.name != name || !strings.HasPrefix(name, "node-") {
		t.Errorf("name %q, then %q", name, n.name)
	}
	closeNode(t, n)

	other := options(t, dir)
	other.Settings.NodeName = "other"
	if _, err := Open(t.Context(), other); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("another name was taken: %v", err)
	}
}

// TestShardsAreOfTheFirstStart: the number of shards is that of the cluster's first start for ever.
func TestShardsAreOfTheFirstStart(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.Shards = 3
	for range 2 {
		n := open(t, o)
		if got := n.runtime.Shards(); got != 3 {
			t.Errorf("%d shards, want 3", got)
		}
		closeNode(t, n)
		o.Settings.Shards = 5
	}
}

func TestAddressesFile(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.AdminAddr = "127.0.0.1:0"
	n := open(t, o)
	defer closeNode(t, n)
	text, err := os.ReadFile(filepath.Join(o.Settings.DataDir, AddressesFile))
	if err != nil {
		t.Fatal(err)
	}
	var got Addresses
	if err := json.Unmarshal(text, &got); err != nil || got != n.Addresses() {
		t.Errorf("file %s, node %+v, %v", text, n.Addresses(), err)
	}
	for _, a := range []string{got.HTTP, got.Gossip, got.RPC, got.Raft, got.Admin} {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "0" {
			t.Errorf("address %q: %v", a, err)
		}
	}
}

// A node that cannot be opened leaves nothing behind: goleak looks at the end.
func TestOpenFailsCleanly(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	notADirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notADirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		change     func(*settings.Settings)
	}{
		{"http port", "http-addr", func(s *settings.Settings) { s.HTTPAddr = taken.Addr().String() }},
		{"admin port", "admin-addr", func(s *settings.Settings) { s.AdminAddr = taken.Addr().String() }},
		{"rpc port", "address already in use", func(s *settings.Settings) { s.RPCAddr = taken.Addr().String() }},
		{"raft port", "address already in use", func(s *settings.Settings) { s.RaftAddr = taken.Addr().String() }},
		{"data directory", "data-dir", func(s *settings.Settings) { s.DataDir = notADirectory }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, t.TempDir())
			c.change(&o.Settings)
			if n, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v", n, err)
			}
		})
	}
}

func TestOneNodePerDirectory(t *testing.T) {
	dir := t.TempDir()
	n := open(t, options(t, dir))
	defer closeNode(t, n)
	if second, err := Open(t.Context(), options(t, dir)); err == nil {
		closeNode(t, second)
		t.Error("two nodes on one directory")
	}
}

func TestOpenStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := Open(ctx, options(t, t.TempDir())); err == nil {
		closeNode(t, n)
	}
}

// A node is not ready before an operator can log in.
func TestNotReadyBeforeTheFirstCredentials(t *testing.T) {
	n := &Node{options: options(t, t.TempDir()), metrics: telemetry.NewRegistry()}
	defer closeNode(t, n)
	for _, step := range []func(context.Context) error{n.openData, n.openServer, n.openHub, n.openObjects, n.openRuntime, n.openEdge} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.runtime.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, why := n.ready(); ok || why == "" {
		t.Errorf("ready without credentials (%q)", why)
	}
	if err := n.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, why := n.ready(); !ok {
		t.Errorf("not ready with credentials: %s", why)
	}
}

// A node that is stopped says first that it is not ready, and serves on until the delay has passed.
func TestReadinessGoesFirst(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.ShutdownDelay = time.Hour // longer than the test
	n := open(t, o)
	get := func(path string) int {
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := c.Get(n.Addresses().HTTPURL() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode
	}
	if got := get("/readyz"); got != http.StatusOK {
		t.Fatalf("ready: %d", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.stop(ctx) }()
	for get("/readyz") != http.StatusServiceUnavailable { // each look is a round trip
	}
	if got := get("/docs"); got != http.StatusOK {
		t.Errorf("a stopping node answers %d", got)
	}
	cancel()
	<-ended // with what was cut, because there was no time left
}

// TestURLs: what is printed can be opened on this machine, also where a node listens at all of its addresses.
func TestURLs(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:4280": "http://127.0.0.1:4280", "0.0.0.0:80": "http://127.0.0.1:80", "[::]:80": "http://127.0.0.1:80",
		"[::1]:80": "http://[::1]:80", ":80": "http://127.0.0.1:80", "parley.example:80": "http://parley.example:80",
	} {
		if got := (Addresses{HTTP: address}).HTTPURL(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
		if got := (Addresses{Admin: address}).AdminURL(); got != want {
			t.Errorf("admin at %s: %s, want %s", address, got, want)
		}
	}
	if got := (Addresses{HTTP: ":80"}).AdminURL(); got != "" {
		t.Errorf("no admin address: %q", got)
	}
}
