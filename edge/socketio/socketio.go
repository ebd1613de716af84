// Package socketio serves the SDKs of the hosted Conversation API on their own wire: Socket.IO
// over Engine.IO, at /rtc/ and at /v2/rtc/. At /rtc/ a client logs in by an event and asks for
// everything by events; at /v2/rtc/ its token stands in the query of the handshake, events need
// an acknowledgement, and a session is resumed by its id. What a session is told is rendered in
// the dialect of its SDK's generation (package nexmo).
package socketio

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/api"
	"parley/edge/auth"
	"parley/edge/dialect/nexmo"
	"parley/edge/engineio"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/receipt"
	"parley/edge/socket"
	"parley/edge/web"
)

// Options are the limits of the protocol. Start from DefaultOptions.
type Options struct {
	Engine         engineio.Options
	ConnectWithin  time.Duration // at /v2/rtc/: to say CONNECT
	LoginWithin    time.Duration // at /rtc/: to log in, or in again after a logout
	TurnWithin     time.Duration // that a connection, and then a login, waits for its turn at the gate
	HoldWithin     time.Duration // a request before login waits this long for it
	HeldMax        int           // requests of one connection that wait for a login
	HeldBytesMax   int           // and their bytes
	HeldBytesNode  int           // and those of all connections together; more are refused
	CommandWithin  time.Duration // for one request
	SyncWithin     time.Duration // by which a login waits until its conversations are followed
	MovedWithin    time.Duration // a session of another node is told again what happened in this time
	MovedEvents    int           // and of each conversation no more than this
	PostsInFlight  int           // posts of one connection without answer; more are not read
	Subscriptions  int           // conversations that one session follows
	EventBytesMax  int           // of one packet of a client
	AnswerBytesMax int           // of one list of events
	LargeAnswers   int           // answers above a mebibyte that are held at once
	JSONDepth      int
	JSONMembers    int
	KeptBytes      int // of memory for the positions of disconnected sessions, at most twice that
	Logger         *slog.Logger
	Registerer     prometheus.Registerer // nil = metrics are kept but not published
}

// DefaultOptions are the production limits.
func DefaultOptions() Options {
	return Options{
		Engine:        engineio.DefaultOptions(),
		ConnectWithin: 10 * time.Second,
		// An SDK connects when it is made and logs in when the user has typed a name.
		LoginWithin: 15 * time.Minute,
		// SDKs wait 20 seconds for a connection, and for the answer to a ping, which a login holds up: for its
		// turn and its command together.
		TurnWithin: 8 * time.Second,
		HoldWithin: time.Second, HeldMax: 256, HeldBytesMax: 1 << 20, HeldBytesNode: 64 << 20,
		CommandWithin: 10 * time.Second, SyncWithin: 2 * time.Second,
		MovedWithin: 5 * time.Minute, MovedEvents: 1000,
		PostsInFlight: 64, Subscriptions: 1000, EventBytesMax: 64 << 10,
		AnswerBytesMax: 32 << 20, LargeAnswers: 8,
		JSONDepth: limit.JSONDepth, JSONMembers: limit.JSONMembers, KeptBytes: 32 << 20,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.ConnectWithin <= 0 || o.LoginWithin <= 0 || o.TurnWithin <= 0 || o.HoldWithin <= 0 || o.CommandWithin <= 0 || o.SyncWithin <= 0 || o.MovedWithin <= 0:
		return errors.New("socketio: times must be positive")
	case o.HeldMax < 1 || o.PostsInFlight < 1 || o.Subscriptions < 1 || o.LargeAnswers < 1 || o.MovedEvents < 1:
		return errors.New("socketio: counts must be positive")
	case o.HeldBytesMax < 1 || o.KeptBytes < 1 || o.HeldBytesNode < o.HeldBytesMax || o.EventBytesMax < 1 || o.AnswerBytesMax < 1:
		return errors.New("socketio: sizes must be positive")
	case o.JSONDepth < 4 || o.JSONMembers < 32:
		return errors.New("socketio: JSON limits leave no room for a request")
	case o.Logger == nil:
		return errors.New("socketio: a logger is needed")
	}
	return o.Engine.Validate()
}

// Parts are what a Handler works with. All are needed.
type Parts struct {
	Cluster  api.Cluster
	Sockets  *socket.Server
	Hub      *hub.Hub
	Verifier *auth.Verifier
	Limits   *limit.Limits
	Receipts *receipt.Queue
	Gate     *gate.Gate
}

// Handler serves /rtc/ and /v2/rtc/.
type Handler struct {
	Parts
	options Options
	metrics metrics
	door    *auth.Door
	engine  *engineio.Server
	large   chan struct{}               // a place for each large answer
	kept    *limit.Recent[string, kept] // by session id: what a resumed session begins with
	held    atomic.Int64                // bytes of the requests that wait for a login, of all connections

	ctx    context.Context // ends with Close: the life of commands, which outlive their connection
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool // guarded by mu
	group  sync.WaitGroup
}

// New makes a Handler. ctx bounds the life of its commands.
func New(ctx context.Context, p Parts, o Options) (*Handler, error) {
	o.Engine.Logger, o.Engine.Registerer = o.Logger, o.Registerer
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if p.Cluster == nil || p.Sockets == nil || p.Hub == nil || p.Verifier == nil || p.Limits == nil || p.Receipts == nil || p.Gate == nil {
		return nil, errors.New("socketio: cluster, sockets, hub, verifier, limits, receipts and gate are needed")
	}
	sessions := newKept(o.KeptBytes)
	m, err := newMetrics(o.Registerer, func() float64 { return float64(sessions.Weight()) })
	if err != nil {
		return nil, err
	}
	h := &Handler{
		Parts: p, options: o, metrics: m, door: auth.NewDoor(p.Verifier, p.Limits), large: make(chan struct{}, o.LargeAnswers),
		kept: sessions,
	}
	h.ctx, h.cancel = context.WithCancel(ctx)
	if h.engine, err = engineio.New(ctx, p.Sockets, o.Engine, h.open); err != nil {
		h.cancel()
		return nil, err
	}
	return h, nil
}

// Close ends the polling connections and the commands on their way. Close the socket server
// before, which ends the WebSockets.
func (h *Handler) Close(ctx context.Context) error {
	err := h.engine.Close(ctx)
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.group.Wait()
	return err
}

// Hurry ends the commands on their way: for who closes the socket server, which waits for them, and has
// no more time.
func (h *Handler) Hurry() { h.cancel() }

// SendAway has the polling clients of now go elsewhere, and goes on to serve (engineio.Server.SendAway).
func (h *Handler) SendAway(ctx context.Context) { h.engine.SendAway(ctx) }

// ServeHTTP serves both paths. Who connects waits for its turn, but nobody is turned away: some of these
// SDKs give up for ever after five connections that failed, and none of them heeds a Retry-After.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Query().Get("sid") == "" {
		if leave, err := h.turn(r.Context(), gate.Connect); err == nil {
			defer leave()
		}
	}
	h.engine.ServeHTTP(w, r)
}

// turn waits for a turn at the gate.
func (h *Handler) turn(ctx context.Context, r gate.Rank) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, h.options.TurnWithin)
	defer cancel()
	return h.Gate.Insist(ctx, r)
}

// open makes the state of a new connection.
func (h *Handler) open(wire *engineio.Conn, r *http.Request) engineio.Handler {
	c := &conn{handler: h, wire: wire, posts: make(chan struct{}, h.options.PostsInFlight)}
	c.peer = web.RemoteAddress(r)
	now := time.Now()
	if q := r.URL.Query(); strings.HasPrefix(r.URL.Path, "/v2/") {
		c.query = &query{
			token: q.Get("token"), session: q.Get("session_id"), device: q.Get("device_id"),
			// A client that resumes may not repeat the rest: what is kept of its session counts then.
			acks: q.Get("acknowledge_events") != "false", generation: nexmo.Client,
		}
		if q.Has("SDK_name") {
			c.query.generation = nexmo.SDK
		}
		c.loginBy = now.Add(h.options.ConnectWithin)
	} else {
		c.loginBy = now.Add(h.options.LoginWithin)
	}
	if wire.Version() == 3 {
		c.connected = true
		wire.Send(controlFrame(typeConnect, ""))
	}
	wire.Wake(c.loginBy)
	return c
}

// spawn runs f unless the handler is closed; Close waits for it.
func (h *Handler) spawn(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.group.Go(f)
	return true
}

// loggingIn gives a context for a login from its turn to the last of the requests that waited for it: the
// connection is not read meanwhile.
func (h *Handler) loggingIn() (context.Context, context.CancelFunc) {
	return context.WithTimeout(h.ctx, h.options.TurnWithin+h.options.CommandWithin)
}

// command gives a context for one command.
func (h *Handler) command() (context.Context, context.CancelFunc) {
	return context.WithTimeout(h.ctx, h.options.CommandWithin)
}
