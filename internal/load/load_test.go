package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// crowd is a broadcast server with one room; it swallows every n-th message if told to.
type crowd struct {
	swallow int

	mu      sync.Mutex
	members []member // guarded by mu
	posted  int      // guarded by mu
}

// member is a connection as the server sees it.
type member interface {
	Read(context.Context) (websocket.MessageType, []byte, error)
	Write(context.Context, websocket.MessageType, []byte) error
}

func (s *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, err := websocket.Accept(w, r, nil); err == nil {
		s.serve(r.Context(), c)
	}
}

func (s *crowd) serve(ctx context.Context, c member) {
	s.mu.Lock()
	s.members = append(s.members, c)
	_ = c.Write(ctx, websocket.MessageText, []byte("welcome"))
	s.mu.Unlock()
	for {
		_, m, err := c.Read(ctx)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.posted++
		lost := s.swallow > 0 && s.posted%s.swallow == 0
		for _, to := range s.members {
			if !lost {
				_ = to.Write(ctx, websocket.MessageText, append([]byte("M"), m...))
			}
		}
		_ = c.Write(ctx, websocket.MessageText, append([]byte("A"), m...))
		s.mu.Unlock()
	}
}

// piped is a member whose frames go through memory. They are short, and masked with zeros.
type piped struct{ end net.Conn }

func (p piped) Read(context.Context) (websocket.MessageType, []byte, error) {
	var head [6]byte
	if _, err := io.ReadFull(p.end, head[:]); err != nil {
		return 0, nil, err
	}
	m := make([]byte, head[1]&0x7f)
	_, err := io.ReadFull(p.end, m)
	return websocket.MessageText, m, err
}

func (p piped) Write(_ context.Context, _ websocket.MessageType, m []byte) error {
	_, err := p.end.Write(append([]byte{0x80 | opText, byte(len(m))}, m...))
	return err
}

// crowdTarget speaks to it: a message is its stamp.
type crowdTarget struct {
	dial func(context.Context) (*Conn, error)
}

func (t crowdTarget) Prepare(context.Context, int, int) error { return nil }
func (t crowdTarget) Open(ctx context.Context, _, _ int) (*Conn, error) {
	c, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return c, c.Frames(func([]byte) bool { return true })
}
func (t crowdTarget) Post(dst []byte, _ int, stamp int64) []byte {
	return strconv.AppendInt(dst, stamp, 10)
}
func (t crowdTarget) Kind(p []byte) Kind {
	if p[0] == 'M' {
		return Delivery
	}
	return Ack
}
func (t crowdTarget) Stamp(p []byte) (int64, bool) { return digits(p[1:]) }
func (t crowdTarget) Opcode() byte                 { return opText }

// within runs a test of a fleet whose server, network and time are in a bubble: no machine is too slow for it.
func within(t *testing.T, s *crowd, shape Shape, test func(*testing.T, *Fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var served sync.WaitGroup
		defer served.Wait()
		f, err := Connect(t.Context(), crowdTarget{func(ctx context.Context) (*Conn, error) {
			ours, theirs := net.Pipe()
			served.Go(func() { s.serve(ctx, piped{theirs}) })
			return &Conn{Conn: ours}, nil
		}}, shape, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(t, f)
	})
}

func run(t *testing.T, f *Fleet) Report {
	t.Helper()
	r, err := f.Run(t.Context(), 200, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEverythingIsCounted(t *testing.T) {
	within(t, &crowd{}, Shape{Rooms: 1, Members: 10, Senders: 3}, func(t *testing.T, f *Fleet) {
		r := run(t, f)
		if r.Sent != 100 || r.Acked != 100 || r.Delivered != 1000 || r.Expected != 1000 || r.Lost != 0 || !r.Kept() {
			t.Errorf("%+v", r)
		}
		if r.P99 == 0 || r.AckP50 == 0 || r.P50 > r.P99 {
			t.Errorf("latencies: %s", r)
		}
	})
}

func TestALossIsSeen(t *testing.T) {
	within(t, &crowd{swallow: 10}, Shape{Rooms: 1, Members: 10, Senders: 3}, func(t *testing.T, f *Fleet) {
		if r := run(t, f); r.Delivered != 900 || r.Kept() {
			t.Errorf("%+v", r)
		}
	})
}

// TestARealServer: what the others show of memory holds over sockets, too, however long that takes.
func TestARealServer(t *testing.T) {
	server := httptest.NewServer(&crowd{})
	defer server.Close()
	f, err := Connect(t.Context(), crowdTarget{func(ctx context.Context) (*Conn, error) {
		return Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), "")
	}}, Shape{Rooms: 1, Members: 10, Senders: 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	f.settle(t.Context(), time.Minute)
	if c, want := f.Counts(), (Counts{Sent: 100, Acked: 100, Delivered: 1000}); c != want {
		t.Errorf("%+v", c)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestFramesInPieces cuts a stream of frames anywhere: the same payloads come out.
func TestFramesInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want []string
		for i := range rapid.IntRange(1, 10).Draw(t, "frames") {
			p := strings.Repeat(string(rune('a'+i)), rapid.SampledFrom([]int{0, 1, 125, 126, 5000, 70_000}).Draw(t, "size"))
			want = append(want, p)
			switch n := len(p); {
			case n < 126:
				stream = append(stream, 0x82, byte(n))
			case n < 1<<16:
				stream = append(stream, 0x82, 126, byte(n>>8), byte(n))
			default:
				stream = append(stream, 0x82, 127, 0, 0, 0, 0, 0, byte(n>>16), byte(n>>8), byte(n))
			}
			stream = append(stream, p...)
		}
		var c Conn
		var got []string
		for have := []byte{}; len(stream) > 0; {
			n := min(len(stream), rapid.IntRange(1, 9000).Draw(t, "piece"))
			have = append(have, stream[:n]...)
			stream = stream[n:]
			used, _, err := c.scan(have, func(p []byte) bool { got = append(got, string(p)); return false })
			if err != nil {
				t.Fatal(err)
			}
			have = bytes.Clone(have[used:])
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%d payloads, want %d", len(got), len(want))
		}
	})
}

func TestParleyStamps(t *testing.T) {
	p := &Parley{rooms: []string{"CON-1"}}
	message := p.Post(nil, 0, 1234567890123456789)
	if stamp, ok := p.Stamp(message); !ok || stamp != 1234567890123456789 {
		t.Errorf("of an event: %d %v", stamp, ok)
	}
	ack := []byte("\x1a\x05\x0a\x03123")
	if stamp, ok := p.Stamp(ack); !ok || stamp != 123 || p.Kind(ack) != Ack {
		t.Errorf("of an ack: %d %v", stamp, ok)
	}
	if _, ok := p.Stamp([]byte("\x1a\x02\x0a")); ok {
		t.Error("a cut ack has no stamp")
	}
}

// TestClimb doubles up to the ceiling.
func TestClimb(t *testing.T) {
	within(t, &crowd{}, Shape{Rooms: 1, Members: 2, Senders: 2}, func(t *testing.T, f *Fleet) {
		var rates []float64
		best, err := f.Climb(t.Context(), 50, 100, 100*time.Millisecond, func(r Report) { rates = append(rates, r.Rate) })
		if err != nil {
			t.Fatal(err)
		}
		if best.Rate != 100 || fmt.Sprint(rates) != "[50 100]" {
			t.Errorf("best %v of the steps %v, want 100 of 50 and 100", best.Rate, rates)
		}
	})
}

// TestClimbDown tries every rate twice and halves it while nothing is kept.
func TestClimbDown(t *testing.T) {
	within(t, &crowd{swallow: 1}, Shape{Rooms: 1, Members: 1, Senders: 1}, func(t *testing.T, f *Fleet) {
		var rates []float64
		c := climb{fleet: f, lasts: 50 * time.Millisecond, told: func(r Report) { rates = append(rates, r.Rate) }}
		c.double(t.Context(), 40, 40)
		c.step(t.Context(), c.high/2)
		if c.err != nil {
			t.Fatal(c.err)
		}
		if c.best.Rate != 0 || c.high != 20 || fmt.Sprint(rates) != "[40 40 20 20]" {
			t.Errorf("best %v, bound %v, steps %v", c.best.Rate, c.high, rates)
		}
	})
}
