// Package hub brings what happened in the cluster to the connections of this edge. It knows
// which connection subscribed to which conversation, tells the cluster what this edge wants to
// hear, keeps each subscription's sequence dense whatever the live path loses, and renders each
// event once per dialect for all sockets. It also keeps the sessions of this edge.
//
// The heart is room, a step function under a lock: its inputs are subscriptions, deliveries,
// answers to its own questions and the clock, its outputs are bytes for subscribers and
// questions to the cluster. The goroutines that ask and write stand outside, in driver.go.
package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/edge/dialect"
	"parley/edge/socket"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Cluster is what a hub asks of the cluster; api.Cluster is one.
type Cluster interface {
	Interest(ctx context.Context, i *nodev1.Interest) (*nodev1.InterestReply, error)
	ListEvents(ctx context.Context, p *nodev1.Principal, conversation string, l *nodev1.ListEvents) (*nodev1.Reply, error)
	// Application is asked for the application of every session, once a second: it is answered by this node.
	Application(ctx context.Context, id string) (*eventv1.Application, error)
}

// Options are the limits of a Hub. Start from DefaultOptions.
type Options struct {
	Grace           time.Duration // how long interest outlives the last subscriber
	Refresh         time.Duration // interest is registered again this often: a lost last event is found
	AskWithin       time.Duration // for one question to the cluster
	AsksMax         int           // questions at once, of each kind: for interest, for events
	CatchUpMax      uint64        // events behind at subscribe; more: reset
	PageBytes       uint64        // of one page of missed events, if it is more than one event
	RoomBytesMax    int           // bytes of one conversation and dialect that wait for a pass
	HeldMax         int           // events kept above a gap, per conversation
	RecentMax       int           // newest events kept for catching up without a read
	CursorsEvery    time.Duration // how often cursors are told in a large conversation, at most
	SessionResume   time.Duration // how long a session outlives its connection
	SessionsPerUser int           // connected to all edges together
	Logger          *slog.Logger
	Registerer      prometheus.Registerer // nil = metrics are kept but not published
}

// DefaultOptions are the production limits.
func DefaultOptions() Options {
	return Options{
		// Long enough to survive a phone changing networks, short enough that a closed tab does
		// not cost a batch per message for minutes.
		Grace:   30 * time.Second,
		Refresh: 30 * time.Second, AskWithin: 5 * time.Second, AsksMax: 64,
		CatchUpMax: 10_000, PageBytes: 256 << 10, RoomBytesMax: 1 << 20, HeldMax: 256, RecentMax: 32,
		CursorsEvery:  time.Second,
		SessionResume: 5 * time.Minute, SessionsPerUser: 100,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.Grace <= 0 || o.Refresh <= 0 || o.AskWithin <= 0 || o.SessionResume <= 0 || o.CursorsEvery <= 0:
		return errors.New("hub: times must be positive")
	case o.AsksMax < 1 || o.RoomBytesMax < 1 || o.HeldMax < 1 || o.SessionsPerUser < 1 || o.PageBytes < 1:
		return errors.New("hub: limits must be positive")
	case o.RecentMax < 0:
		return errors.New("hub: recent events must not be negative")
	case o.Logger == nil:
		return errors.New("hub: a logger is needed")
	}
	return nil
}

// Hub is the edge's switchboard. All methods are safe for use from any goroutine.
type Hub struct {
	options  Options
	cluster  Cluster
	others   Others // nil = none
	pump     *socket.Pump
	metrics  metrics
	sessions *registry
	world    world // the hub itself with its goroutines, or a Stepper

	// The goroutines of driver.go; Close waits for them. Set by Start.
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	group  sync.WaitGroup
	// A token for each question on its way. Registrations have their own: those that a node in
	// trouble does not answer do not keep others from reading.
	asks, claims chan struct{}
	tells        chan struct{} // one for each session that is told to have moved
	claiming     atomic.Int64  // registrations on their way or waiting for a token

	version atomic.Uint64 // of the last Interest sent
	again   []*room       // to be registered again, in order; the clock's alone

	mu     sync.RWMutex
	rooms  map[address]*room       // guarded by mu
	timers map[*room]time.Time     // guarded by mu; rooms that want a tick, and when
	lost   map[keys.Shard]struct{} // guarded by mu; interests there may be gone; the clock takes them
	closed bool                    // guarded by mu
}

// address names a conversation or a user of an application.
type address struct{ application, id string }

// New makes a Hub that writes with pump. The cluster needs it for deliveries and it needs the
// cluster for answers: so it is made first, and Start completes it.
func New(pump *socket.Pump, o Options) (*Hub, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		options: o, pump: pump, metrics: m,
		asks: make(chan struct{}, o.AsksMax), claims: make(chan struct{}, o.AsksMax), tells: make(chan struct{}, o.AsksMax),
		rooms: map[address]*room{}, timers: map[*room]time.Time{}, lost: map[keys.Shard]struct{}{},
	}
	h.sessions, h.world = newRegistry(o.SessionResume, o.SessionsPerUser), h
	return h, nil
}

// Start gives the hub its cluster, the other edges (nil = none) and its goroutines, once, before the
// first connection. ctx bounds its life; Close ends it before.
func (h *Hub) Start(ctx context.Context, cluster Cluster, others Others) {
	h.cluster, h.others = cluster, others
	h.ctx, h.cancel = context.WithCancel(ctx)
	h.spawn(h.clock)
	h.spawn(h.watch)
}

// spawn runs f unless the hub is closed; Close waits for it.
func (h *Hub) spawn(f func()) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.closed {
		h.group.Go(f)
	}
}

// Close stops asking and waits for what is on its way. Connections are not the hub's to close.
func (h *Hub) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	if h.cancel != nil {
		h.cancel()
	}
	h.group.Wait()
	return nil
}

// Subscriber is a connection as the hub sees it. None of its methods may block, and none may
// call the hub.
type Subscriber interface {
	// Send queues complete frames; SendNow may write them at once.
	Send(frame []byte)
	SendNow(frame []byte)
	// Ended tells that the hub ended s; the frame that says so is queued, nothing follows it.
	Ended(s *Subscription)
}

// Paced is a Subscriber that takes what it missed as fast as its peer does: the hub sends the next
// page when little of what was sent before waits. A Subscriber that is not Paced is sent its
// pages one after another.
type Paced interface {
	Subscriber
	// Offer queues frames if little waits for the peer, and says whether it did; a page is at most
	// a little over Options.PageBytes. If not, ready is called once, from any goroutine, when
	// little waits, or never if the connection ends. No frames only ask. Offer must not block;
	// ready does not.
	Offer(frames []byte, ready func()) bool
	// Line is where the hub lines up the connection's subscriptions; always the same one.
	Line() *Line
}

// Follower is a Subscriber that is told, besides the frames, what Follow is about. Like those of
// Subscriber, its methods may neither block nor call the hub.
type Follower interface {
	Subscriber
	// Membership tells that a membership of the user has changed.
	Membership(m *nodev1.MembershipChange)
	// Missed tells that changes before now may not have been told: whoever needs to know lists the
	// memberships. It comes once at the beginning, when every later change will be told.
	Missed()
}

// Request asks for a subscription to a conversation. The caller has checked that the user may
// read it, and learned Head in doing so.
type Request struct {
	Application  string
	Conversation string  // CON-…
	User         string  // USR-… of the subscriber
	After        *uint64 // last sequence the client has; nil = Head
	Head         uint64  // the conversation's head at the check; older member:left events are old news
	Dialect      dialect.Dialect
	To           Subscriber
	Ack          []byte // frame sent before anything else of this subscription; may be nil
}

// Subscribe starts a subscription: Ack, then every event after After, in order, once.
func (h *Hub) Subscribe(r Request) *Subscription {
	s := &Subscription{user: r.User, dialect: r.Dialect, to: r.To, floor: r.Head, next: r.Head + 1, at: -1}
	if r.Ack != nil {
		r.To.Send(r.Ack)
	}
	switch {
	case r.After == nil || *r.After == r.Head:
	case *r.After > r.Head || r.Head-*r.After > h.options.CatchUpMax:
		h.metrics.resets.Inc()
		r.To.Send(r.Dialect.Reset(nil, r.Conversation, r.Head))
	default:
		s.next = *r.After + 1
	}
	h.enter(address{r.Application, r.Conversation}, s)
	return s
}

// Follow subscribes to what concerns a user: invitations, membership changes, deletion.
func (h *Hub) Follow(application, user string, d dialect.Dialect, to Subscriber) *Subscription {
	s := &Subscription{user: user, dialect: d, to: to, at: -1}
	h.enter(address{application, user}, s)
	return s
}

// enter finds or makes the room of a and adds s. It repeats when the room was just given up.
func (h *Hub) enter(a address, s *Subscription) {
	for {
		r := h.room(a)
		r.mu.Lock()
		if r.gone {
			r.mu.Unlock()
			continue
		}
		s.room = r
		r.subscribe(s)
		r.mu.Unlock()
		return
	}
}

// room finds or makes.
func (h *Hub) room(a address) *room {
	h.mu.RLock()
	r := h.rooms[a]
	h.mu.RUnlock()
	if r != nil {
		return r
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.rooms[a]; r == nil {
		r = newRoom(a, &h.options, &h.metrics, h.world)
		h.rooms[a] = r
		h.metrics.rooms.Set(float64(len(h.rooms)))
	}
	return r
}

// Unsubscribe ends s. After the last event of s it sends ack, if that is not nil, and calls done,
// which must not block: nothing of s follows.
func (h *Hub) Unsubscribe(s *Subscription, ack []byte, done func()) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(s)
	r.writer.say(r, remark{to: s, frame: ack, then: done})
}

// Abandon ends s, whose connection is gone.
func (h *Hub) Abandon(s *Subscription) {
	s.ended.Store(true)
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(s)
}

// Deliver implements fanout.Edge. It does not block: rooms queue bytes, and what they cannot
// take they drop and find again as a gap. That no batch is missing is for others to watch
// (fanout.Inbound): they call Resync.
func (h *Hub) Deliver(b *nodev1.FanoutBatch) {
	for _, item := range b.Items {
		h.mu.RLock()
		r := h.rooms[address{item.ApplicationId, item.Id}]
		h.mu.RUnlock()
		if r == nil {
			h.metrics.dropped.WithLabelValues("no_subscriber").Inc()
			continue
		}
		r.mu.Lock()
		r.deliver(item)
		r.mu.Unlock()
	}
}

// Resync implements fanout.Resyncer: it registers the interests in conversations and users of some
// shards again, paced, with those of which the shard is not known yet. It does not block.
func (h *Hub) Resync(shards []keys.Shard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range shards {
		h.lost[s] = struct{}{}
	}
}
