package socket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo sends every message back and tells when it ended.
type echo struct {
	conn   *Conn
	closed chan struct{}
}

func (e *echo) Message(binary bool, payload []byte) {
	op := Text
	if binary {
		op = Binary
	}
	e.conn.Send(AppendFrame(nil, op, payload))
}

func (e *echo) Closed() { close(e.closed) }

// served is a Server behind a real listener.
type served struct {
	*Server
	http  *httptest.Server
	conns chan *echo // every accepted connection
}

func serve(t *testing.T, tls bool, change func(*Options)) *served {
	t.Helper()
	o := DefaultOptions()
	o.HelloWithin, o.CloseWithin = time.Hour, time.Minute // nobody says hello
	if change != nil {
		change(&o)
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	out := &served{Server: s, conns: make(chan *echo, 10_000)}
	out.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e *echo
		err := s.Accept(w, r, []string{"echo"}, func(c *Conn) Handler {
			e = &echo{conn: c, closed: make(chan struct{})}
			return e
		})
		if err != nil {
			t.Log(err)
			return
		}
		out.conns <- e // only now does the server count it
	}))
	if tls {
		out.http.StartTLS()
	} else {
		out.http.Start()
	}
	t.Cleanup(func() {
		out.http.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return out
}

func (s *served) dial(t *testing.T) (*websocket.Conn, *echo) {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), strings.Replace(s.http.URL, "http", "ws", 1),
		&websocket.DialOptions{HTTPClient: s.http.Client(), Subprotocols: []string{"echo"}, HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(64 << 20)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c, <-s.conns
}

func read(t *testing.T, c *websocket.Conn) (websocket.MessageType, []byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return c.Read(ctx)
}

func TestEcho(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tls, nil)
			c, e := s.dial(t)
			if c.Subprotocol() != "echo" || e.conn.Subprotocol() != "echo" {
				t.Error("no subprotocol")
			}
			for _, n := range []int{0, 1, 125, 126, 4096, 64 << 10} {
				for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
					sent := bytes.Repeat([]byte("x"), n)
					if err := c.Write(t.Context(), kind, sent); err != nil {
						t.Fatal(err)
					}
					back, got, err := read(t, c)
					if err != nil || back != kind || !bytes.Equal(got, sent) {
						t.Fatalf("%d bytes: %v %d %v", n, back, len(got), err)
					}
				}
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
			<-e.closed
		})
	}
}

func TestCloseHandshake(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tls, nil)
			c, e := s.dial(t)
			for i := range 1000 {
				e.conn.Send(AppendFrame(nil, Text, fmt.Append(nil, i)))
			}
			e.conn.Close(TokenExpired)
			e.conn.Close(Silent) // the first one wins
			e.conn.Send(AppendFrame(nil, Text, []byte("late")))
			for i := range 1000 {
				if _, got, err := read(t, c); err != nil || string(got) != fmt.Sprint(i) {
					t.Fatalf("message %d: %q, %v", i, got, err)
				}
			}
			var closed websocket.CloseError
			if _, got, err := read(t, c); !errors.As(err, &closed) || closed.Code != 4200 || closed.Reason != "token_expired" {
				t.Fatalf("%q, %v", got, err)
			}
			<-e.closed
		})
	}
}

// TestSlowConsumer fills a peer that does not read: it is closed, nobody waits, and what it
// reads afterwards is whole frames up to the close frame.
func TestSlowConsumer(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tls, func(o *Options) { o.QueueBytesMax = 1 << 20 })
			c, e := s.dial(t)
			other, _ := s.dial(t)
			frame := AppendFrame(nil, Binary, make([]byte, 10_000))
			for range 3000 { // 30 MB: more than any socket buffer here
				e.conn.Send(frame)
			}
			if err := other.Write(t.Context(), websocket.MessageText, []byte("alive")); err != nil {
				t.Fatal(err)
			}
			if _, got, err := read(t, other); err != nil || string(got) != "alive" {
				t.Fatalf("the other connection: %q %v", got, err)
			}
			n := 0
			for {
				_, got, err := read(t, c)
				if err == nil && len(got) == 10_000 {
					n++
					continue
				}
				if websocket.CloseStatus(err) != 4008 {
					t.Fatalf("after %d whole frames: %d bytes, %v", n, len(got), err)
				}
				break
			}
			if n == 3000 {
				t.Error("nothing was dropped")
			}
			if dropped := testutil.ToFloat64(s.metrics.dropped.WithLabelValues("slow_consumer")); dropped == 0 {
				t.Error("the drop was not counted")
			}
			<-e.closed
		})
	}
}

// TestSlowReaderLosesNothing lets a peer read slowly within its bounds: everything arrives, in order.
func TestSlowReaderLosesNothing(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.QueueBytesMax = 64 << 20 })
	c, e := s.dial(t)
	const frames = 2000
	var w sync.WaitGroup
	w.Go(func() {
		for i := range frames {
			payload := binary.BigEndian.AppendUint32(make([]byte, 0, 9004), uint32(i))
			f := AppendFrame(nil, Binary, payload[:9000])
			if i%2 == 0 {
				e.conn.Send(f)
			} else {
				e.conn.SendNow(f)
			}
		}
	})
	w.Wait() // nothing was read yet: most of it waits in the queue and in the drain
	for i := range frames {
		_, got, err := read(t, c)
		if err != nil || len(got) != 9000 || binary.BigEndian.Uint32(got) != uint32(i) {
			t.Fatalf("frame %d: %d bytes, %v", i, len(got), err)
		}
	}
}

func TestReadLimit(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.FrameBytesMax = 1000 })
	c := rawDial(t, s.http.Listener.Addr().String())
	e := <-s.conns
	const size = 60_000 // sent whole before the refusal comes
	head := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, size)
	if _, err := c.Write(append(head, make([]byte, 4+size)...)); err != nil {
		t.Fatal(err)
	}
	if op, payload := c.frame(t); op != 8 || binary.BigEndian.Uint16(payload) != uint16(websocket.StatusMessageTooBig) {
		t.Errorf("opcode %d %q", op, payload)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-e.closed
}

// TestTime turns the clock by hand: deadline, pings, silence, the end of closing.
func TestTime(t *testing.T) {
	t.Run("no hello", func(t *testing.T) {
		s := serve(t, false, func(o *Options) { o.HelloWithin, o.PingInterval = time.Minute, time.Hour })
		c, _ := s.dial(t)
		s.tick(time.Now().Add(30 * time.Minute))
		if _, _, err := read(t, c); websocket.CloseStatus(err) != websocket.StatusCode(LoginTimeout) {
			t.Error(err)
		}
	})
	t.Run("token", func(t *testing.T) {
		s := serve(t, false, func(o *Options) { o.PingInterval = time.Hour })
		c, e := s.dial(t)
		begin := time.Now()
		e.conn.SetDeadline(begin.Add(10*time.Minute), TokenExpired)
		for at := time.Duration(0); at < 10*time.Minute; at += 7 * time.Second {
			s.tick(begin.Add(at))
		}
		e.conn.Send(AppendFrame(nil, Text, []byte("still here")))
		if _, got, err := read(t, c); err != nil || string(got) != "still here" {
			t.Fatal(err)
		}
		s.tick(begin.Add(10*time.Minute + 2*time.Second))
		if _, _, err := read(t, c); websocket.CloseStatus(err) != websocket.StatusCode(TokenExpired) {
			t.Error(err)
		}
	})
	t.Run("a silent peer is pinged, then closed", func(t *testing.T) {
		s := serve(t, false, nil)
		c := rawDial(t, s.http.Listener.Addr().String())
		e := <-s.conns
		e.conn.SetDeadline(time.Time{}, 0)
		begin := e.conn.lastHeard()
		s.tick(begin.Add(27 * time.Second))
		if op, _ := c.frame(t); op != 9 {
			t.Fatalf("opcode %d, want a ping", op)
		}
		s.tick(begin.Add(37 * time.Second))
		op, payload := c.frame(t)
		if op != 8 || binary.BigEndian.Uint16(payload) != uint16(Silent) {
			t.Fatalf("opcode %d %q", op, payload)
		}
		// It does not answer the close frame either.
		s.tick(time.Now().Add(2 * s.options.CloseWithin))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		<-e.closed
	})
	t.Run("a peer that answers pings stays", func(t *testing.T) {
		s := serve(t, false, nil)
		c := rawDial(t, s.http.Listener.Addr().String())
		e := <-s.conns
		e.conn.SetDeadline(time.Time{}, 0)
		begin := e.conn.lastHeard()
		s.tick(begin.Add(27 * time.Second))
		c.frame(t)
		c.send(t, 0x8a, nil) // pong
		c.send(t, 0x81, []byte("x"))
		c.frame(t) // the echo: the pong has been read
		e.conn.hear(begin.Add(30 * time.Second))
		s.tick(begin.Add(40 * time.Second))
		c.send(t, 0x81, []byte("still here"))
		if _, got := c.frame(t); string(got) != "still here" {
			t.Errorf("%q", got)
		}
	})
}

// raw is a client that sends what no library would.
type raw struct {
	net.Conn
	r *bufio.Reader
}

// handshake asks for an upgrade.
const handshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"

func rawDial(t *testing.T, address string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, handshake); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != 101 {
		t.Fatal(answer, err)
	}
	return &raw{c, r}
}

// send writes one short masked frame with a given first byte.
func (c *raw) send(t *testing.T, first byte, payload []byte) {
	t.Helper()
	if _, err := c.Write(append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)); err != nil {
		t.Fatal(err)
	}
}

func (c *raw) frame(t *testing.T) (op byte, payload []byte) {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.r, head); err != nil {
		t.Fatal(err)
	}
	n := int(head[1])
	if n == 126 {
		long := make([]byte, 2)
		if _, err := io.ReadFull(c.r, long); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(long))
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		t.Fatal(err)
	}
	return head[0] & 0xf, payload
}

// TestBrokenFraming goes through what RFC 6455 forbids: each closes that connection, and says so
// where a close frame is due.
func TestBrokenFraming(t *testing.T) {
	s := serve(t, false, nil)
	bystander, e := s.dial(t)
	e.conn.SetDeadline(time.Time{}, 0)
	for name, tc := range map[string]struct {
		bytes []byte
		close uint16 // 0 = the connection just ends
	}{
		"reserved bit":            {[]byte{0xc1, 0x80, 0, 0, 0, 0}, 1002},
		"unknown opcode":          {[]byte{0x83, 0x80, 0, 0, 0, 0}, 1002},
		"unmasked":                {[]byte{0x81, 1, 'x'}, 0},
		"continuation of nothing": {[]byte{0x80, 0x80, 0, 0, 0, 0}, 1002},
		"fragmented ping":         {[]byte{0x09, 0x80, 0, 0, 0, 0}, 1002},
		"long ping":               {append([]byte{0x89, 0x80 | 126, 0, 126, 0, 0, 0, 0}, make([]byte, 126)...), 1002},
		"close code 1005":         {[]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed}, 1002},
		"close with one byte":     {[]byte{0x88, 0x81, 0, 0, 0, 0, 0x03}, 1002},
		"text inside a fragment":  {[]byte{0x01, 0x81, 0, 0, 0, 0, 'a', 0x81, 0x81, 0, 0, 0, 0, 'b'}, 1002},
	} {
		c := rawDial(t, s.http.Listener.Addr().String())
		e := <-s.conns
		if _, err := c.Write(tc.bytes); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(c.r)
		if err != nil && tc.close != 0 {
			t.Errorf("%s: %v", name, err)
		}
		if tc.close != 0 && (len(rest) < 4 || rest[0] != 0x88 || binary.BigEndian.Uint16(rest[2:]) != tc.close) {
			t.Errorf("%s: %x, want close %d", name, rest, tc.close)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		<-e.closed
	}
	if err := bystander.Write(t.Context(), websocket.MessageText, []byte("fine")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := read(t, bystander); err != nil || string(got) != "fine" {
		t.Errorf("another connection: %q %v", got, err)
	}
}

// TestFragmentsAndPipelining sends a message in pieces, byte by byte, right behind the handshake.
func TestFragmentsAndPipelining(t *testing.T) {
	s := serve(t, false, nil)
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	text := "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n" +
		"\x01\x82\x00\x00\x00\x00ab" + "\x89\x81\x00\x00\x00\x00p" + "\x80\x81\x00\x00\x00\x00c" + "\x81\x80\x00\x00\x00\x00"
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != 101 {
		t.Fatal(answer, err)
	}
	peer := &raw{c, r}
	for _, want := range []string{"\x0ap", "\x01abc", "\x01"} {
		if op, payload := peer.frame(t); string(op)+string(payload) != want {
			t.Errorf("got %d %q, want %q", op, payload, want)
		}
	}
}

// TestThousandSockets sends each of many connections its own stream from many goroutines.
func TestThousandSockets(t *testing.T) {
	const sockets, frames = 1000, 20
	s := serve(t, false, func(o *Options) { o.PingInterval = time.Hour }) // nobody reads until all are there
	clients := make([]*websocket.Conn, sockets)
	servers := make([]*echo, sockets)
	for i := range clients {
		clients[i], servers[i] = s.dial(t)
	}
	if s.Len() != sockets {
		t.Errorf("%d connections", s.Len())
	}
	var w sync.WaitGroup
	for n := range frames {
		shared := AppendFrame(nil, Text, fmt.Append(nil, n))
		for i := range servers {
			servers[i].conn.SendNow(shared)
		}
	}
	for i := range clients {
		w.Go(func() {
			for n := range frames {
				if _, got, err := read(t, clients[i]); err != nil || string(got) != fmt.Sprint(n) {
					t.Errorf("socket %d frame %d: %q %v", i, n, got, err)
					return
				}
			}
		})
	}
	w.Wait()
}

func TestServerCloseSaysResume(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.DrainSpread = 50 * time.Millisecond })
	var clients []*websocket.Conn
	for range 20 {
		c, _ := s.dial(t)
		clients = append(clients, c)
	}
	deaf := rawDial(t, s.http.Listener.Addr().String()) // never answers the close frame
	<-s.conns
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	closed := make(chan error, 1)
	go func() { closed <- s.Close(ctx) }()
	for _, c := range clients {
		if _, _, err := read(t, c); websocket.CloseStatus(err) != websocket.StatusCode(GoingAway) {
			t.Error(err)
		}
	}
	if op, _ := deaf.frame(t); op != 8 {
		t.Errorf("opcode %d", op)
	}
	enough()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(s.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed server answered %s", answer.Status)
	}
}

// TestWheel compares the wheel with a map over random schedules.
func TestWheel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_700_000_000, 0)
		var w wheel
		w.start(now)
		due := map[*Conn]time.Time{}
		var conns []*Conn
		pick := func(t *rapid.T) *Conn {
			if len(conns) == 0 {
				t.Skip()
			}
			return rapid.SampledFrom(conns).Draw(t, "conn")
		}
		later := func(t *rapid.T) time.Time {
			return now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := &Conn{}
				conns, due[c] = append(conns, c), later(t)
				w.add(c, due[c])
			},
			"remove": func(t *rapid.T) { c := pick(t); w.remove(c); delete(due, c) },
			"hasten": func(t *rapid.T) {
				c, at := pick(t), later(t)
				w.hasten(c, at)
				if old, ok := due[c]; ok && at.Before(old) {
					due[c] = at
				}
			},
			"advance": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "by")) * time.Second)
				visited := map[*Conn]bool{}
				for _, c := range w.advance(now) {
					visited[c] = true
					if _, ok := due[c]; !ok {
						t.Fatal("a removed connection was visited")
					}
					if due[c].Before(now) {
						due[c] = now.Add(50 * time.Second)
					}
					w.again(c, due[c])
				}
				for c, at := range due {
					if !visited[c] && at.Add(wheelTick).Before(now) {
						t.Fatalf("due at %v, not visited at %v", at, now)
					}
				}
			},
			"": func(t *rapid.T) {
				if w.len() != len(due) || len(w.all()) != len(due) {
					t.Fatalf("%d connections, %d listed, want %d", w.len(), len(w.all()), len(due))
				}
			},
		})
	})
}

func TestAppendFrame(t *testing.T) {
	for n, head := range map[int]string{0: "\x82\x00", 125: "\x82\x7d", 126: "\x82\x7e\x00\x7e", 65535: "\x82\x7e\xff\xff", 65536: "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"} {
		got := AppendFrame([]byte("before"), Binary, make([]byte, n))
		if want := "before" + head; string(got[:len(want)]) != want || len(got) != len(want)+n {
			t.Errorf("%d bytes: %x", n, got[:min(len(got), 20)])
		}
	}
}

func TestOptionsAreValidated(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Options){
		"frame": func(o *Options) { o.FrameBytesMax = 0 }, "queue": func(o *Options) { o.QueueBytesMax = 0 },
		"hello": func(o *Options) { o.HelloWithin = 0 }, "ping": func(o *Options) { o.PingInterval = -1 },
		"spread": func(o *Options) { o.DrainSpread = -1 }, "writers": func(o *Options) { o.Writers = 0 }, "logger": func(o *Options) { o.Logger = nil },
	} {
		o := DefaultOptions()
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
