package membership

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

// memberlist does not wait for a probe that it has begun; it ends by its own timeout.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

type setting func(*Options)

func open(t *testing.T, name string, settings ...setting) *Members {
	t.Helper()
	o := DefaultOptions()
	o.NodeName, o.BindAddr = name, "127.0.0.1:0"
	o.Meta = Meta{RPC: name + ":1", Roles: []string{"edge"}, Incarnation: 1}
	o.Logger, o.Metrics = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	o.Debounce, o.JoinEvery, o.RejoinEvery = time.Millisecond, 5*time.Millisecond, 20*time.Millisecond
	o.LeaveTimeout = time.Minute // it takes four rounds of gossip, on a busy machine longer ones
	for _, set := range settings {
		set(&o)
	}
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func join(others ...*Members) setting {
	return func(o *Options) {
		for _, m := range others {
			o.Join = append(o.Join, m.Addr())
		}
	}
}

// await returns the first view that is as wanted.
func await(t *testing.T, m *Members, what string, is func(*View) bool) *View {
	t.Helper()
	views, stop := m.Watch()
	defer stop()
	timeout := time.After(time.Minute)
	for {
		select {
		case v := <-views:
			if is(v) {
				return v
			}
		case <-timeout:
			t.Fatalf("%s: no view with %s; the last: %+v", m.o.NodeName, what, m.View())
		}
	}
}

func names(v *View) string {
	var all []string
	for _, n := range v.Nodes {
		all = append(all, n.Name)
	}
	return strings.Join(all, " ")
}

func TestNodesFindEachOther(t *testing.T) {
	a := open(t, "n1")
	if strings.HasSuffix(a.Addr(), ":0") {
		t.Fatalf("bound to %s", a.Addr())
	}
	if names(a.View()) != "n1" {
		t.Errorf("alone: %s", names(a.View()))
	}
	b, c := open(t, "n2", join(a)), open(t, "n3", join(a))
	all := func(v *View) bool { return names(v) == "n1 n2 n3" }
	for _, m := range []*Members{a, b, c} {
		v := await(t, m, "all", all)
		n, ok := v.Find("n2")
		if !ok || n.Meta.RPC != "n2:1" || n.Addr != b.Addr() {
			t.Errorf("n2 as %s sees it: %+v", m.o.NodeName, n)
		}
		if _, ok := v.Find("n9"); ok {
			t.Error("found a node that is not there")
		}
	}
	meta := Meta{RPC: "moved:2", Incarnation: 2}
	if err := b.UpdateMeta(meta); err != nil {
		t.Fatal(err)
	}
	await(t, a, "the new meta", func(v *View) bool { n, _ := v.Find("n2"); return n.Meta.same(meta) })
	await(t, b, "its own new meta", func(v *View) bool { n, _ := v.Find("n2"); return n.Meta.same(meta) })
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	await(t, a, "n3 gone", func(v *View) bool { return names(v) == "n1 n2" })
}

// TestSlowGossipIsNoFailure: who says something new of itself does so although it takes longer than expected until
// the others hear of it.
func TestSlowGossipIsNoFailure(t *testing.T) {
	a := open(t, "n1", func(o *Options) { o.LeaveTimeout = time.Nanosecond })
	b := open(t, "n2", join(a))
	await(t, a, "n2", func(v *View) bool { return names(v) == "n1 n2" })
	meta := Meta{RPC: "moved:2", Incarnation: 2}
	if err := a.UpdateMeta(meta); err != nil {
		t.Error(err)
	}
	for _, m := range []*Members{a, b} {
		await(t, m, "the new meta", func(v *View) bool { n, _ := v.Find("n1"); return n.Meta.same(meta) })
	}
}

// TestJoinIsAHint: a node starts although nobody answers, and finds the others when they come.
func TestJoinIsAHint(t *testing.T) {
	elsewhere := func(addr string) setting { return func(o *Options) { o.BindAddr = addr } }
	late := open(t, "n0", elsewhere("127.0.0.2:0")) // where nobody else takes the port while it is free
	addr := late.Addr()
	if err := late.Close(); err != nil {
		t.Fatal(err)
	}
	early := open(t, "n1", func(o *Options) { o.Join = []string{addr} })
	open(t, "n2", elsewhere(addr))
	await(t, early, "n2", func(v *View) bool { return names(v) == "n1 n2" })
}

func TestRestartAtAnotherAddress(t *testing.T) {
	a := open(t, "n1")
	b := open(t, "n2", join(a))
	await(t, a, "n2", func(v *View) bool { return names(v) == "n1 n2" })
	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, "n2", join(a), func(o *Options) { o.Meta.Incarnation = 2 })
	await(t, a, "n2 at its new address", func(v *View) bool {
		n, _ := v.Find("n2")
		return n.Addr == again.Addr() && n.Meta.Incarnation == 2
	})
}

func TestKeysKeepStrangersOut(t *testing.T) {
	old, fresh := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	key := func(k []byte) setting { return func(o *Options) { o.Keys = [][]byte{k} } }
	a := open(t, "n1", key(old))
	b := open(t, "n2", key(old), join(a))
	await(t, a, "n2", func(v *View) bool { return names(v) == "n1 n2" })

	for _, hasty := range [][][]byte{{fresh}, {fresh, old}, {}, {{1}}} {
		if changed, err := a.SetKeys(hasty); err == nil || changed {
			t.Errorf("keys %v were taken at once: %v", hasty, err)
		}
	}
	for _, keys := range [][][]byte{{old}, {old, fresh}, {fresh, old}, {fresh}} { // a round over all nodes at a time
		for _, m := range []*Members{a, b} {
			before := m.keyring.GetKeys()
			changed, err := m.SetKeys(keys)
			if err != nil || changed != (len(before) != len(keys) || !bytes.Equal(before[0], keys[0])) {
				t.Fatalf("changed %v, %v", changed, err)
			}
			if !bytes.Equal(m.keyring.GetPrimaryKey(), keys[0]) || len(m.keyring.GetKeys()) != len(keys) {
				t.Fatalf("%s does not use the keys it was given", m.o.NodeName)
			}
		}
	}
	if _, err := a.SetKeys([][]byte{old}); err == nil {
		t.Error("a dropped key came back at once")
	}
	stranger := open(t, "n8", key(old), func(o *Options) { o.JoinEvery = time.Hour })
	if stranger.joinOnce(a.Addr()) {
		t.Error("a stranger with the old key was let in")
	}
	open(t, "n3", key(fresh), join(a))
	await(t, b, "n3", func(v *View) bool { return names(v) == "n1 n2 n3" })

	plain := open(t, "n9")
	if _, err := plain.SetKeys([][]byte{fresh}); err == nil {
		t.Error("a key was added to plain gossip")
	}
}

// joinOnce is one attempt, for tests that want it to fail.
func (m *Members) joinOnce(addr string) bool {
	n, err := m.list.Join([]string{addr})
	return err == nil && n > 0
}

// TestSlowWatcherGetsTheLast: a watcher that sleeps through views is not waited for.
func TestSlowWatcherGetsTheLast(t *testing.T) {
	a := open(t, "n1")
	slow, stop := a.Watch()
	defer stop()
	for i := range 20 {
		meta := Meta{RPC: fmt.Sprint(i)}
		if err := a.UpdateMeta(meta); err != nil {
			t.Fatal(err)
		}
		await(t, a, "the meta", func(v *View) bool { n, _ := v.Find("n1"); return n.Meta.RPC == meta.RPC })
	}
	v := <-slow
	if n, _ := v.Find("n1"); n.Meta.RPC != "19" || v != a.View() {
		t.Errorf("the slow watcher has %+v", v)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	tests := map[string]setting{
		"no name":    func(o *Options) { o.NodeName = "" },
		"a bad key":  func(o *Options) { o.Keys = [][]byte{{1, 2}} },
		"huge meta":  func(o *Options) { o.Meta.HTTP = strings.Repeat("x", 600) },
		"no port":    func(o *Options) { o.BindAddr = "127.0.0.1" },
		"port range": func(o *Options) { o.BindAddr = "127.0.0.1:70000" },
		"advertise":  func(o *Options) { o.AdvertiseAddr = "nowhere" },
		"no pause":   func(o *Options) { o.Debounce = 0 },
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.NodeName, o.BindAddr = "n1", "127.0.0.1:0"
			o.Logger, o.Metrics = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
			set(&o)
			if m, err := Open(o); err == nil {
				_ = m.Close()
				t.Error("opened")
			}
		})
	}
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	never := func() bool { return false }
	l := newLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), never)
	for _, line := range []string{"[ERR] memberlist: broken", "[WARN] memberlist: odd", "[DEBUG] memberlist: fine", "plain"} {
		l.Print(line)
	}
	for _, want := range []string{"level=ERROR msg=gossip detail=broken", "level=WARN msg=gossip detail=odd",
		"level=DEBUG msg=gossip detail=fine", "level=DEBUG msg=gossip detail=plain"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}

// TestStrangersDoNotFillTheLog: of one machine's lines the first is written; another machine's are its own.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	var out bytes.Buffer
	never := func() bool { return false }
	l := newLogger(slog.New(slog.NewTextHandler(&out, nil)), never)
	for port := range 100 {
		l.Printf("[ERR] memberlist: Decrypt packet failed: No installed keys could decrypt the message from=10.1.2.3:%d", 4000+port)
	}
	l.Print("[WARN] memberlist: odd from=10.1.2.4:1 (in a way)")
	l.Print("[ERR] memberlist: odd from=<unknown address>")
	if n := strings.Count(out.String(), "10.1.2.3"); n != 1 || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%d lines of one stranger:\n%s", n, out.String())
	}
}

// TestAnOrdinaryStopIsNoError: what memberlist still does while its sockets are closed is not worth an alarm.
func TestAnOrdinaryStopIsNoError(t *testing.T) {
	var out bytes.Buffer
	m := &Members{o: DefaultOptions()}
	m.o.BindAddr, m.o.Logger = "127.0.0.1:0", slog.New(slog.NewTextHandler(&out, nil))
	config, err := m.config()
	if err != nil {
		t.Fatal(err)
	}
	config.Logger.Print("[ERR] memberlist: Failed to send gossip to 10.1.2.3:4281: network is unreachable")
	if told := out.String(); !strings.Contains(told, "level=ERROR") {
		t.Errorf("while it is open: %q", told)
	}
	out.Reset()
	m.closed.Store(true) // as Close does first
	config.Logger.Print("[ERR] memberlist: Failed to send gossip to 10.1.2.3:4281: use of closed network connection")
	config.Logger.Print("[WARN] memberlist: Refuting a suspect message (from: b)")
	if out.Len() > 0 {
		t.Errorf("while it is closed: %s", out.String())
	}
}

// TestCloseWaitsForNoSeed: a seed that takes a connection and says nothing does not hold up a node that stops.
func TestCloseWaitsForNoSeed(t *testing.T) {
	met := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	var seeds []string
	var group sync.WaitGroup
	defer group.Wait()
	for i := range met {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		seeds = append(seeds, l.Addr().String())
		group.Go(func() {
			if c, err := l.Accept(); err == nil {
				close(met[i])
				_, _ = io.Copy(io.Discard, c) // until the other side ends it
				_ = c.Close()
			}
		})
	}
	m := open(t, "a", func(o *Options) { o.Join = seeds })
	<-met[0]
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-met[1]:
		t.Error("while it stopped it waited for the first and asked the second")
	default:
	}
}
