package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/cluster/version"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is an Addresses that a test fills in.
type book map[string]string

func (b book) Address(node string) (string, bool) { a, ok := b[node]; return a, ok }

// sink is a Handler that passes on what it hears.
type sink struct {
	batches   chan string
	events    chan string
	snapshots chan string
	refuse    error
}

func newSink() *sink {
	return &sink{batches: make(chan string, 1000), events: make(chan string, 100), snapshots: make(chan string, 10)}
}

func (s *sink) Receive(from string, batch []byte) { s.batches <- from + ":" + string(batch) }
func (s *sink) PeerUp(node string)                { s.events <- "up " + node }
func (s *sink) PeerDown(node string)              { s.events <- "down " + node }
func (s *sink) ReceiveSnapshot(_ context.Context, from string, header []byte, body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	s.snapshots <- from + ":" + string(header) + ":" + string(b)
	return s.refuse
}

func listen(t *testing.T, cluster, node string, addresses book) (*TCP, *sink) {
	t.Helper()
	return listenWith(t, testOptions(cluster, node), addresses)
}

// testOptions are those of a patient node: on a busy machine a batch that was not given the time is lost.
func testOptions(cluster, node string) TCPOptions {
	o := DefaultTCPOptions()
	o.Identity = Identity{Cluster: cluster, Node: node, Store: "store-" + node, Incarnation: 1}
	o.RedialAfter, o.SilentAfter, o.DialTimeout = time.Millisecond, time.Minute, time.Minute
	return o
}

func listenWith(t *testing.T, o TCPOptions, addresses book) (*TCP, *sink) {
	t.Helper()
	tcp, err := ListenTCP("127.0.0.1:0", addresses, o)
	if err != nil {
		t.Fatal(err)
	}
	s := newSink()
	if err := tcp.Start(s); err != nil {
		t.Fatal(err)
	}
	return tcp, s
}

func want(t *testing.T, from <-chan string, text string) {
	t.Helper()
	if got := <-from; got != text {
		t.Fatalf("got %q, want %q", got, text)
	}
}

func TestTCPBatchesAndLiveness(t *testing.T) {
	addresses := book{}
	a, _ := listen(t, "c", "a", addresses)
	b, heard := listen(t, "c", "b", addresses)
	addresses["b"] = b.Addr().String()
	for _, text := range []string{"one", "two", "three"} {
		a.Send("b", []byte(text))
		want(t, heard.batches, "a:"+text)
	}
	want(t, heard.events, "up a")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, heard.events, "down a")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTCPSnapshot(t *testing.T) {
	addresses := book{}
	a, _ := listen(t, "c", "a", addresses)
	defer a.Close()
	b, heard := listen(t, "c", "b", addresses)
	defer b.Close()
	addresses["b"] = b.Addr().String()
	body := bytes.Repeat([]byte("0123456789"), 50_000)
	send := func(w io.Writer) error { _, err := w.Write(body); return err }
	if err := a.SendSnapshot(t.Context(), "b", []byte("header"), send); err != nil {
		t.Fatal(err)
	}
	want(t, heard.snapshots, "a:header:"+string(body))

	heard.refuse = errors.New("no room")
	if err := a.SendSnapshot(t.Context(), "b", []byte("header"), send); err == nil {
		t.Fatal("a snapshot that was refused counts as sent")
	}
	<-heard.snapshots
	broken := errors.New("source is damaged")
	err := a.SendSnapshot(t.Context(), "b", nil, func(w io.Writer) error {
		_, err := w.Write([]byte("half"))
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Fatalf("a broken source gave %v", err)
	}
	if err := a.SendSnapshot(t.Context(), "nobody", nil, send); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("a node without address gave %v", err)
	}
	if len(heard.snapshots) != 0 {
		t.Fatal("half a snapshot was taken for a whole one")
	}
}

// TestTCPRefusesStrangers shows that nothing is taken from another cluster, or for another node.
func TestTCPRefusesStrangers(t *testing.T) {
	addresses := book{}
	a, _ := listen(t, "c", "a", addresses)
	defer a.Close()
	foreign, _ := listen(t, "other", "x", addresses)
	defer foreign.Close()
	b, heard := listen(t, "c", "b", addresses)
	defer b.Close()
	addresses["b"], addresses["moved"] = b.Addr().String(), b.Addr().String()
	nothing := func(io.Writer) error { return nil }
	if err := foreign.SendSnapshot(t.Context(), "b", nil, nothing); err == nil {
		t.Error("a node of another cluster was let in")
	}
	if err := a.SendSnapshot(t.Context(), "moved", nil, nothing); err == nil {
		t.Error("a stream for another node was let in")
	}
	if len(heard.batches)+len(heard.snapshots)+len(heard.events) != 0 {
		t.Error("the handler heard of strangers")
	}
}

func TestHelloRoundTrip(t *testing.T) {
	h := hello{version: Version, purpose: purposeBatches, to: "b", Identity: Identity{Cluster: "c", Node: "a", Store: "s", Incarnation: 77, Versions: version.Range{Oldest: 2, Newest: 300}}}
	got, err := decodeHello(h.encode())
	if err != nil || got != h {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err = decodeHello(append(h.encode(), "more, of a later build"...)); err != nil || got != h {
		t.Fatalf("extended: %+v, %v", got, err)
	}
	for cut := range h.encode() {
		if _, err := decodeHello(h.encode()[:cut]); err == nil {
			t.Fatalf("hello cut at %d was taken", cut)
		}
	}
}

// TestTCPRefusesABuildOfOtherVersions, in both directions, and lets in who has one in common.
func TestTCPRefusesABuildOfOtherVersions(t *testing.T) {
	addresses := book{}
	o := testOptions("c", "b")
	o.Identity.Versions = version.Range{Oldest: 2, Newest: 3}
	b, heard := listenWith(t, o, addresses)
	defer b.Close()
	addresses["b"] = b.Addr().String()
	for _, c := range []struct {
		spoken version.Range
		met    bool
	}{{version.Range{Oldest: 1, Newest: 1}, false}, {version.Range{Oldest: 1, Newest: 2}, true},
		{version.Range{Oldest: 3, Newest: 9}, true}, {version.Range{Oldest: 4, Newest: 4}, false}} {
		o := testOptions("c", "a")
		o.Identity.Versions = c.spoken
		a, _ := listenWith(t, o, addresses)
		err := a.SendSnapshot(t.Context(), "b", nil, func(io.Writer) error { return nil })
		if (err == nil) != c.met || !c.met && !strings.Contains(err.Error(), "cluster versions 2 to 3") {
			t.Errorf("%+v: %v", c.spoken, err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if c.met {
			<-heard.snapshots
		}
	}
}

func TestMemoryNetwork(t *testing.T) {
	n := NewMemory()
	a, b := n.Endpoint("a"), n.Endpoint("b")
	heard := newSink()
	if err := errors.Join(a.Start(newSink()), b.Start(heard)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"1", "2", "3"} {
		a.Send("b", []byte(text))
	}
	n.Deliver(2)
	n.Duplicate(0)
	n.Drop(1)
	n.DeliverAll()
	for _, text := range []string{"a:3", "a:1", "a:1"} {
		want(t, heard.batches, text)
	}
	n.Cut("a", "b")
	a.Send("b", []byte("lost"))
	n.DeliverAll()
	if err := a.SendSnapshot(t.Context(), "b", nil, func(io.Writer) error { return nil }); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("snapshot over a cut: %v", err)
	}
	n.Heal()
	a.Send("b", []byte("after"))
	n.DeliverAll()
	want(t, heard.batches, "a:after")
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
}
