// Package socket is one WebSocket connection as the edge needs it: reading, the handshake and
// control frames come from coder/websocket; data frames are built once by the caller, wait in a
// bounded queue, and leave in one write(2) for all that wait.
//
// An idle connection costs a reader goroutine and small read buffers. Its write side has no
// goroutine, timer or buffer: a shared Pump writes, a shared wheel watches the clock, and a
// goroutine of its own writes only while the peer's window is full.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are the limits of every connection of a Server. Start from DefaultOptions.
type Options struct {
	FrameBytesMax int           // largest message read; over it: close 1009
	QueueBytesMax int           // bytes that may wait for one peer; over it: close SlowConsumer
	HelloWithin   time.Duration // until the handler calls SetDeadline; after it: close LoginTimeout
	PingInterval  time.Duration // silence after which the peer is pinged
	PongWithin    time.Duration // further silence after which it is closed as Silent
	CloseWithin   time.Duration // time given to the peer's half of the close handshake
	DrainSpread   time.Duration // over which Close and SendAway spread their going-away frames
	Writers       int           // goroutines of the Pump
	Logger        *slog.Logger
	Registerer    prometheus.Registerer // nil = metrics are kept but not published
}

// DefaultOptions are the documented limits of the native protocol.
func DefaultOptions() Options {
	return Options{
		FrameBytesMax: 64 << 10, QueueBytesMax: 1 << 20,
		HelloWithin: 5 * time.Second, PingInterval: 25 * time.Second, PongWithin: 10 * time.Second,
		// Some hundreds a second: the other nodes log them in one after another.
		DrainSpread: 3 * time.Second,
		CloseWithin: 5 * time.Second, Writers: 4, Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.FrameBytesMax < 1 || o.QueueBytesMax < 1:
		return errors.New("socket: frame and queue limits must be positive")
	case o.HelloWithin <= 0 || o.PingInterval <= 0 || o.PongWithin <= 0 || o.CloseWithin <= 0:
		return errors.New("socket: time limits must be positive")
	case o.DrainSpread < 0:
		return errors.New("socket: drain spread must not be negative")
	case o.Writers < 1:
		return errors.New("socket: at least one writer is needed")
	case o.Logger == nil:
		return errors.New("socket: a logger is needed")
	}
	return nil
}

// ErrClosed says that the Server takes no more connections.
var ErrClosed = errors.New("socket server is closed")

// Server owns all connections, their goroutines, and the Pump and wheel that they share.
type Server struct {
	options Options
	metrics metrics
	pump    *Pump
	wheel   wheel
	cancel  context.CancelFunc
	ctx     context.Context // ends with Close: it is the life of the readers, which outlive their requests

	// Readers, drains and the clock. Close waits for all of them.
	group sync.WaitGroup

	mu     sync.Mutex
	closed bool // guarded by mu
}

// New makes a Server and starts its writers and clock.
func New(ctx context.Context, o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, metrics: m, pump: NewPump(o.Writers)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.wheel.start(time.Now())
	s.group.Go(s.clock)
	return s, nil
}

// Options are those that the Server was made with.
func (s *Server) Options() Options { return s.options }

// Pump gives the writers, for others that write to many connections in one pass.
func (s *Server) Pump() *Pump { return s.pump }

// clock turns the wheel once a second.
func (s *Server) clock() {
	ticker := time.NewTicker(wheelTick)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-ticker.C:
			s.tick(now)
		}
	}
}

// tick looks after every connection whose time has come.
func (s *Server) tick(now time.Time) {
	for _, c := range s.wheel.advance(now) {
		c.check(now)
	}
}

// Accept upgrades a request to a connection that speaks one of subprotocols, any Origin allowed,
// and returns once the upgrade is answered: the caller's handler should return then, so that the
// request's memory is freed. open is called before the first message and gives the handler of
// this connection. On error the request has been answered.
func (s *Server) Accept(w http.ResponseWriter, r *http.Request, subprotocols []string, open func(*Conn) Handler) error {
	if err := s.enter(); err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "this node is going away", http.StatusServiceUnavailable)
		return err
	}
	defer s.group.Done()
	c := &Conn{server: s}
	ws, err := websocket.Accept(&hijacker{ResponseWriter: w, conn: c}, r, &websocket.AcceptOptions{
		Subprotocols:       subprotocols,
		InsecureSkipVerify: true, // any Origin: no cookie is ever a credential
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	ws.SetReadLimit(int64(s.options.FrameBytesMax))
	c.ws = ws
	now := time.Now()
	c.deadline, c.deadlineCode = now.Add(s.options.HelloWithin), LoginTimeout
	c.hear(now)
	s.metrics.open.Inc()
	// Before open, which may set a deadline or close already: the wheel must come in time.
	s.wheel.add(c, now.Add(min(s.options.HelloWithin, s.options.PingInterval)))
	c.handler = open(c)
	s.group.Go(c.read)
	s.turnAway(c)
	return nil
}

// turnAway ends a connection that was still being accepted when Close looked for all there are.
func (s *Server) turnAway(c *Conn) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		c.Close(GoingAway)
	}
	if s.ctx.Err() != nil {
		c.shut() // the clock, which would end it, has stopped
	}
}

// enter takes part in the group, so that Close waits; the caller calls group.Done.
func (s *Server) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.group.Add(1)
	return nil
}

// Len is the number of open connections.
func (s *Server) Len() int { return s.wheel.len() }

// Close tells every peer to resume elsewhere, spread over DrainSpread, gives each CloseWithin to
// answer, or until ctx ends, then closes what is left and waits for all goroutines: a handler's call
// that is under way then has to end by itself.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if !again {
		s.sayGoodbye(ctx)
	}
	s.cancel()
	for _, c := range s.wheel.all() {
		c.shut()
	}
	s.group.Wait()
	s.pump.Close()
	return nil
}

// SendAway tells the peers of now to resume elsewhere, like Close, but goes on to serve: a load
// balancer that has not noticed yet may send some back. It returns when they are gone or ctx ends.
func (s *Server) SendAway(ctx context.Context) { s.sayGoodbye(ctx) }

// sayGoodbye sends the close frames, spread, and waits until the peers have answered.
func (s *Server) sayGoodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.options.DrainSpread+s.options.CloseWithin)
	defer cancel()
	Spread(ctx, s.wheel.all(), s.options.DrainSpread, func(c *Conn) { c.Close(GoingAway) })
	ticker := time.NewTicker(spreadSlice)
	defer ticker.Stop()
	for s.wheel.len() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Handler is what stands behind a connection. Its calls come from the connection's reader, one
// at a time: while a call lasts nothing more is read, which is the back-pressure on the peer.
type Handler interface {
	// Message hands over one message. payload is valid until Message returns.
	Message(binary bool, payload []byte)
	// Closed is the last call.
	Closed()
}

// buffers hold a message while it is handled: idle connections own none.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// buffer grows to the messages it saw; large ones are not kept.
type buffer struct{ bytes []byte }

// fill reads r to its end.
func (b *buffer) fill(r io.Reader) error {
	b.bytes = b.bytes[:0]
	for {
		if len(b.bytes) == cap(b.bytes) {
			b.bytes = append(b.bytes, make([]byte, max(512, cap(b.bytes)))...)[:len(b.bytes)]
		}
		n, err := r.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// free gives b back.
func (b *buffer) free() {
	if cap(b.bytes) <= 64<<10 {
		buffers.Put(b)
	}
}
