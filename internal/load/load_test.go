package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
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
	members []*websocket.Conn // guarded by mu
	posted  int               // guarded by mu
}

func (s *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.members = append(s.members, c)
	_ = c.Write(r.Context(), websocket.MessageText, []byte("welcome"))
	s.mu.Unlock()
	for {
		_, m, err := c.Read(r.Context())
		if err != nil {
			return
		}
		s.mu.Lock()
		s.posted++
		lost := s.swallow > 0 && s.posted%s.swallow == 0
		for _, to := range s.members {
			if !lost {
				_ = to.Write(r.Context(), websocket.MessageText, append([]byte("M"), m...))
			}
		}
		_ = c.Write(r.Context(), websocket.MessageText, append([]byte("A"), m...))
		s.mu.Unlock()
	}
}

// crowdTarget speaks to it: a message is its stamp.
type crowdTarget struct{ url string }

func (t crowdTarget) Prepare(context.Context, int, int) error { return nil }
func (t crowdTarget) Open(ctx context.Context, _, _ int) (*Conn, error) {
	c, err := Dial(ctx, t.url, "")
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

func run(t *testing.T, s *crowd) Report {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	f, err := Connect(t.Context(), crowdTarget{strings.Replace(server.URL, "http", "ws", 1)}, Shape{Rooms: 1, Members: 10, Senders: 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Run(t.Context(), 200, 500*time.Millisecond)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEverythingIsCounted(t *testing.T) {
	r := run(t, &crowd{})
	if r.Sent != 100 || r.Acked != 100 || r.Delivered != 1000 || r.Expected != 1000 || r.Lost != 0 {
		t.Errorf("%+v", r)
	}
	if r.P99 == 0 || r.AckP50 == 0 || r.P50 > r.P99 {
		t.Errorf("latencies: %s", r)
	}
}

func TestALossIsSeen(t *testing.T) {
	r := run(t, &crowd{swallow: 10})
	if r.Delivered != 900 || r.Kept() {
		t.Errorf("%+v", r)
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
	server := httptest.NewServer(&crowd{})
	defer server.Close()
	f, err := Connect(t.Context(), crowdTarget{strings.Replace(server.URL, "http", "ws", 1)}, Shape{Rooms: 1, Members: 2, Senders: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rates []float64
	best, err := f.Climb(t.Context(), 50, 100, 100*time.Millisecond, func(r Report) { rates = append(rates, r.Rate) })
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if best.Rate != 100 || fmt.Sprint(rates) != "[50 100]" {
		t.Errorf("best %v of the steps %v, want 100 of 50 and 100", best.Rate, rates)
	}
}

// TestClimbDown tries every rate twice and halves it while nothing is kept.
func TestClimbDown(t *testing.T) {
	server := httptest.NewServer(&crowd{swallow: 1})
	defer server.Close()
	f, err := Connect(t.Context(), crowdTarget{strings.Replace(server.URL, "http", "ws", 1)}, Shape{Rooms: 1, Members: 1, Senders: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rates []float64
	c := climb{fleet: f, lasts: 50 * time.Millisecond, told: func(r Report) { rates = append(rates, r.Rate); f.delivered.Store(r.Sent) }}
	c.double(t.Context(), 40, 40)
	c.step(t.Context(), c.high/2)
	if err := errors.Join(c.err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if c.best.Rate != 0 || c.high != 20 || fmt.Sprint(rates) != "[40 40 20 20]" {
		t.Errorf("best %v, bound %v, steps %v", c.best.Rate, c.high, rates)
	}
}
