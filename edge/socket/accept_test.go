package socket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// late is a request whose connection is handed over when proceed has returned.
type late struct {
	http.ResponseWriter
	proceed func()
}

// Hijack implements http.Hijacker.
func (l late) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	l.proceed()
	return http.NewResponseController(l.ResponseWriter).Hijack()
}

// opened is a Server whose handlers are made by open, behind a real listener. proceed is called
// while a connection is accepted.
func opened(t *testing.T, o Options, proceed func(*Server), open func(*Conn) Handler) (*Server, string) {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.Accept(late{w, func() { proceed(s) }}, r, nil, open); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nobody is waited for
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		h.Close()
	})
	return s, h.Listener.Addr().String()
}

// TestAHandlerMayCloseAtOnce: a peer that is turned away before its first message, and does not
// answer the close frame, is gone after CloseWithin, however long a hello may take.
func TestAHandlerMayCloseAtOnce(t *testing.T) {
	o := DefaultOptions()
	o.HelloWithin, o.PingInterval, o.CloseWithin = time.Hour, time.Hour, time.Minute
	closed := make(chan struct{})
	s, address := opened(t, o, func(*Server) {}, func(c *Conn) Handler {
		c.Close(LoginRefused)
		return &echo{conn: c, closed: closed}
	})
	peer := rawDial(t, address)
	if op, _ := peer.frame(t); op != 8 {
		t.Fatalf("opcode %d, want a close frame", op)
	}
	s.tick(time.Now().Add(o.CloseWithin + 2*wheelTick))
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	<-closed
}

// TestAConnectionAcceptedDuringCloseIsEnded: Close has looked for all connections while one was
// still being accepted. It must not wait for a peer that never leaves.
func TestAConnectionAcceptedDuringCloseIsEnded(t *testing.T) {
	accepting, closed := make(chan struct{}), make(chan struct{})
	s, address := opened(t, DefaultOptions(), func(s *Server) {
		close(accepting)
		<-s.ctx.Done() // the last that Close does before it looks
	}, func(c *Conn) Handler { return &echo{conn: c, closed: closed} })
	peer, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := io.WriteString(peer, handshake); err != nil {
		t.Fatal(err)
	}
	<-accepting
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hanging := time.AfterFunc(30*time.Second, func() {
		t.Error("Close waits for the peer")
		peer.Close()
	})
	defer hanging.Stop()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	<-closed
}

// TestCloseGivesTheDeafUp after CloseWithin.
func TestCloseGivesTheDeafUp(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.DrainSpread, o.CloseWithin = 0, 10*time.Millisecond })
	rawDial(t, s.http.Listener.Addr().String())
	e := <-s.conns
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-e.closed
}

// TestAPeerInErrorGetsWhatWaits: a peer breaks the protocol while much waits for it. A visit of the
// clock leaves it the time to read that, and the close frame behind it.
func TestAPeerInErrorGetsWhatWaits(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.QueueBytesMax, o.CloseWithin = 64<<20, 30*time.Second })
	peer := rawDial(t, s.http.Listener.Addr().String())
	e := <-s.conns
	const frames = 2000
	for range frames {
		e.conn.Send(AppendFrame(nil, Binary, make([]byte, 10_000))) // 20 MB: more than socket buffers hold
	}
	peer.send(t, 0xf1, nil) // reserved bits
	await(t, "the reader notices the broken frame", func() bool {
		e.conn.mu.Lock()
		defer e.conn.mu.Unlock()
		return e.conn.flushed != nil
	})
	e.conn.check(time.Now())
	for i := range frames {
		if op, payload := peer.frame(t); op != byte(Binary) || len(payload) != 10_000 {
			t.Fatalf("frame %d: opcode %d, %d bytes", i, op, len(payload))
		}
	}
	if op, _ := peer.frame(t); op != byte(opClose) {
		t.Errorf("opcode %d, want the close frame", op)
	}
}
