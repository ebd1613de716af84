// Package engineio carries packets between a server and the browsers' Engine.IO clients, in the
// two protocol versions that the Conversation API's SDKs speak: 3 (XHR polling with an upgrade to
// WebSocket, or WebSocket alone) and 4. It knows nothing of what the messages mean.
//
// A connection over WebSocket is a socket.Conn and costs nothing besides it. A polling connection
// is a bounded queue and the request that waits for it; it has no goroutine of its own. One clock
// for all connections sends version 4's pings, finds silent pollers and wakes the handlers.
package engineio

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/edge/socket"
)

// Options are the limits of a Server. Start from DefaultOptions.
type Options struct {
	PingInterval    time.Duration // told to clients; a version 4 server pings this often
	PingTimeout     time.Duration // told to clients; a poller silent for both together is closed
	PollWithin      time.Duration // a poll without news is answered with a noop after this
	ReadWithin      time.Duration // for the body of one POST
	CloseWithin     time.Duration // time given to a poller to fetch the end
	DrainSpread     time.Duration // over which SendAway spreads the ends of pollers
	PayloadBytesMax int           // of one POST; version 4 clients are told
	PacketsMax      int           // in one POST
	QueueBytesMax   int           // waiting for one poller; over it the connection is closed
	PollersMax      int           // polling connections at once
	Logger          *slog.Logger
	Registerer      prometheus.Registerer // nil = metrics are kept but not published
}

// DefaultOptions are the production limits.
func DefaultOptions() Options {
	return Options{
		PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second, PollWithin: 30 * time.Second,
		ReadWithin: 10 * time.Second, CloseWithin: 5 * time.Second, DrainSpread: socket.DefaultOptions().DrainSpread,
		// A client that was away sends all it has buffered in one POST.
		PayloadBytesMax: 256 << 10, PacketsMax: 1000,
		QueueBytesMax: 1 << 20, PollersMax: 20_000,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.PingInterval <= 0 || o.PingTimeout <= 0 || o.PollWithin <= 0 || o.ReadWithin <= 0 || o.CloseWithin <= 0:
		return errors.New("engineio: times must be positive")
	case o.DrainSpread < 0:
		return errors.New("engineio: drain spread must not be negative")
	case o.PollWithin >= o.PingInterval+o.PingTimeout:
		return errors.New("engineio: a poll must be answered before its client is taken for silent")
	case o.PayloadBytesMax < 1 || o.PacketsMax < 1 || o.QueueBytesMax < 1 || o.PollersMax < 1:
		return errors.New("engineio: limits must be positive")
	case o.Logger == nil:
		return errors.New("engineio: a logger is needed")
	}
	return nil
}

// Handler is what stands behind a connection. Message and Closed come one at a time; while a
// Message lasts nothing more of the connection is read, which is the back-pressure on the peer.
type Handler interface {
	// Message hands over the content of one message packet, valid until Message returns.
	Message(content []byte)
	// Due is called when the time asked for by Conn.Wake has come, or earlier, from the clock: it
	// must not block. It says when to come again; the zero time = not.
	Due(now time.Time) time.Time
	// Closed is the last call.
	Closed()
}

// Server makes connections of requests. Its WebSockets are the socket server's to close.
type Server struct {
	options Options
	sockets *socket.Server
	open    func(*Conn, *http.Request) Handler
	metrics metrics
	agenda  agenda

	ctx    context.Context // ends with Close: polls that wait end by it
	cancel context.CancelFunc
	group  sync.WaitGroup // the clock, and the ends of polling connections

	mu      sync.Mutex
	closed  bool             // guarded by mu
	pollers map[string]*Conn // guarded by mu; by sid, until upgraded or ended
}

// New makes a Server and starts its clock. open is called for every new connection, before its
// first message, and may send.
func New(ctx context.Context, sockets *socket.Server, o Options, open func(*Conn, *http.Request) Handler) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if sockets == nil || open == nil {
		return nil, errors.New("engineio: sockets and open are needed")
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, sockets: sockets, open: open, metrics: m, agenda: newAgenda(), pollers: map[string]*Conn{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.group.Go(func() { s.agenda.run(s.ctx) })
	return s, nil
}

// Close ends the polling connections: each is told by its next poll, if that comes until ctx or
// CloseWithin ends. Close the socket server before, which ends the others.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	waiting := s.polling()
	for _, c := range waiting {
		c.Close(socket.GoingAway)
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.CloseWithin)
	defer cancel()
	for _, c := range waiting {
		select {
		case <-c.over:
		case <-ctx.Done():
			c.end("going_away")
		}
	}
	s.mu.Lock()
	s.cancel() // under mu: nothing is spawned any more
	s.mu.Unlock()
	s.group.Wait()
	return nil
}

// SendAway ends the polling connections of now, spread over DrainSpread or until ctx ends, and goes on to
// serve. Each is told by its next poll. The WebSockets are the socket server's to send away.
func (s *Server) SendAway(ctx context.Context) {
	socket.Spread(ctx, s.polling(), s.options.DrainSpread, func(c *Conn) { c.Close(socket.GoingAway) })
}

// polling are the polling connections of now.
func (s *Server) polling() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.pollers))
}

// enter takes a polling connection in; false = there is no room, or the server is closed.
func (s *Server) enter(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.pollers) >= s.options.PollersMax {
		return false
	}
	s.pollers[c.sid] = c
	s.metrics.pollers.Set(float64(len(s.pollers)))
	return true
}

// leave takes a polling connection out, because it ended or was upgraded.
func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pollers[c.sid] == c {
		delete(s.pollers, c.sid)
		s.metrics.pollers.Set(float64(len(s.pollers)))
	}
}

// poller finds a polling connection; nil = unknown.
func (s *Server) poller(sid string) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pollers[sid]
}

// spawn runs f unless the server is closed for good; Close waits for it.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.group.Go(f)
	return true
}
