package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/cluster/version"
	"parley/internal/telemetry"
)

// Addresses tells where nodes listen, as far as this node knows.
type Addresses interface {
	// Address gives the host and port of a node's transport; ok=false when it is not known.
	Address(node string) (address string, ok bool)
}

// TCPOptions are the tunables of a TCP transport. The zero value is not valid; start from
// DefaultTCPOptions.
type TCPOptions struct {
	// Identity is what this node says it is. It has no default.
	Identity Identity
	// TLS, when set, is used for dialing and for accepting. Both ends show a certificate of an
	// authority that RootCAs and ClientCAs name, for the name of their node; a node without one is
	// refused whatever ClientAuth says. The callbacks in it let certificates change while it runs.
	TLS *tls.Config

	// Admit, when set, decides on a node of this cluster that says hello: nil lets it in,
	// ErrRemoved tells it that it is a member no more. It must not block.
	Admit func(Identity) error
	// Removed, when set, is called when another node says that this one was removed. It must not
	// block. The caller checks who says so if it must.
	Removed func(by string, reason error)

	// BufferBytes bounds what waits for one node; beyond it batches are dropped.
	BufferBytes int
	// BatchBytesMax bounds a received batch; a larger one ends its connection.
	BatchBytesMax int
	// StreamsMax bounds the accepted connections.
	StreamsMax int
	// BeatInterval is how often a connection without traffic says that it lives.
	BeatInterval time.Duration
	// SilentAfter is how long a node may say nothing before it counts as down.
	SilentAfter time.Duration
	// ProbeInterval is the pause between the dials that look whether a node is dead whose
	// connection broke.
	ProbeInterval time.Duration
	// DialTimeout bounds dialing, TLS and hello together.
	DialTimeout time.Duration
	// RedialAfter is the pause after a failed dial; it doubles up to sixteen times that.
	RedialAfter time.Duration
	// StallAfter bounds one read or write of a snapshot.
	StallAfter time.Duration

	// Logger hears of nodes that come, go or are refused.
	Logger *slog.Logger
	// Metrics takes the transport's metrics; nil keeps none.
	Metrics prometheus.Registerer
}

// DefaultTCPOptions are for a production node; Identity has still to be set.
func DefaultTCPOptions() TCPOptions {
	return TCPOptions{
		BufferBytes: 32 << 20, BatchBytesMax: 64 << 20, StreamsMax: 1024,
		BeatInterval: 100 * time.Millisecond, SilentAfter: 500 * time.Millisecond, ProbeInterval: 20 * time.Millisecond,
		DialTimeout: 2 * time.Second, RedialAfter: 100 * time.Millisecond, StallAfter: 30 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o TCPOptions) Validate() error {
	switch {
	case o.Identity.Node == "" || o.Identity.Cluster == "":
		return errors.New("transport options: identity needs a cluster and a node")
	case o.BufferBytes <= 0 || o.BatchBytesMax <= 0 || o.StreamsMax <= 0:
		return errors.New("transport options: limits must be above zero")
	case o.BatchBytesMax < o.BufferBytes:
		return errors.New("transport options: a peer's buffer would not fit a batch")
	case min(o.BeatInterval, o.ProbeInterval, o.DialTimeout, o.RedialAfter, o.StallAfter) <= 0, o.SilentAfter <= o.BeatInterval:
		return errors.New("transport options: times must be above zero, and silence longer than a beat")
	case o.Logger == nil:
		return errors.New("transport options: logger must be set")
	}
	return nil
}

// strangerEvery is how often a refused stream of one machine is logged: whoever is refused comes again.
const strangerEvery = time.Minute

// TCP is the Transport of a real node. Batches to a node go over one connection, which this
// node dials when there is something to say; beats on it tell the other side that we live. Each
// snapshot has a connection of its own, so that it delays nothing.
type TCP struct {
	// Fixed at Listen.
	o         TCPOptions
	addresses Addresses
	listener  net.Listener
	dropped   *prometheus.CounterVec
	refusals  prometheus.Counter
	strangers *telemetry.Seldom // of whom the log speaks
	ctx       context.Context   // ends at Close
	stop      context.CancelCauseFunc
	group     errgroup.Group // every goroutine of the transport
	handler   Handler        // set by Start

	telling sync.Mutex // held, and taken before mu, while a node comes or goes and the handler is told

	mu      sync.Mutex // guards all below
	closed  bool
	peers   map[string]*peer
	streams int
	heard   map[string]net.Conn // the newest connection of batches from each node
	lives   map[string]life     // the latest seen of each node
}

// ListenTCP takes an address, host:port; port 0 lets the system choose. Nothing is accepted
// until Start.
func ListenTCP(address string, addresses Addresses, o TCPOptions) (*TCP, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_transport_dropped_bytes_total", Help: "Bytes of batches that were not sent, by reason.",
	}, []string{"reason"})
	refusals := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "parley_transport_streams_refused_total", Help: "Streams of other nodes, or of strangers, that were refused.",
	})
	if o.Metrics != nil {
		if err := errors.Join(o.Metrics.Register(dropped), o.Metrics.Register(refusals)); err != nil {
			return nil, fmt.Errorf("transport metrics: %w", err)
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for nodes: %w", err)
	}
	if o.Identity.Versions == (version.Range{}) {
		o.Identity.Versions = version.Spoken()
	}
	ctx, stop := context.WithCancelCause(context.Background())
	return &TCP{
		o: o, addresses: addresses, listener: listener, ctx: ctx, stop: stop,
		dropped: dropped, refusals: refusals, strangers: telemetry.NewSeldom(strangerEvery),
		peers: map[string]*peer{}, heard: map[string]net.Conn{}, lives: map[string]life{},
	}, nil
}

// Addr is where the transport listens.
func (t *TCP) Addr() net.Addr { return t.listener.Addr() }

// Start implements Transport.
func (t *TCP) Start(h Handler) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.handler = h
	t.group.Go(t.acceptLoop)
	t.group.Go(t.beatLoop)
	return nil
}

// Close implements Transport.
func (t *TCP) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	t.stop(ErrClosed)
	err := t.listener.Close()
	return errors.Join(err, t.group.Wait())
}

// start runs f in the transport's group, unless it is closed.
func (t *TCP) start(f func() error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.group.Go(f)
	}
	return !t.closed
}

// Send implements Transport.
func (t *TCP) Send(node string, batch []byte) {
	if p := t.peer(node); p != nil {
		p.enqueue(batch)
	}
}

// peer gives the sender of a node, and starts it at the first time.
func (t *TCP) peer(node string) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[node]
	if p == nil && !t.closed {
		p = &peer{transport: t, node: node, wake: make(chan struct{}, 1), beat: make(chan struct{}, 1)}
		t.peers[node] = p
		t.group.Go(p.run)
	}
	return p
}

// dial opens a stream to a node and says hello.
func (t *TCP) dial(ctx context.Context, node string, why purpose) (net.Conn, error) {
	address, ok := t.addresses.Address(node)
	if !ok {
		return nil, fmt.Errorf("node %s has no known address: %w", node, ErrUnreachable)
	}
	ctx, cancel := context.WithTimeout(ctx, t.o.DialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial node %s: %w", node, err)
	}
	if t.o.TLS != nil {
		config := t.o.TLS.Clone()
		config.ServerName = node
		conn = tls.Client(conn, config)
	}
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer release()
	err = t.introduce(ctx, conn, node, why)
	if errors.Is(err, ErrRemoved) && t.o.Removed != nil {
		t.o.Removed(node, err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("greet node %s: %w", node, err), conn.Close())
	}
	return conn, nil
}

// introduce says hello to a node, once it has shown by its certificate that it is that one.
func (t *TCP) introduce(ctx context.Context, conn net.Conn, node string, why purpose) error {
	if encrypted, ok := conn.(*tls.Conn); ok {
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return err
		}
		if err := encrypted.ConnectionState().PeerCertificates[0].VerifyHostname(node); err != nil {
			return err
		}
	}
	if err := writeFrame(conn, hello{version: Version, purpose: why, to: node, Identity: t.o.Identity}.encode()); err != nil {
		return err
	}
	answer, err := readFrame(conn, helloSizeMax)
	if err != nil {
		return err
	}
	return readAnswer(answer)
}

// drop counts a batch that is lost.
func (t *TCP) drop(reason string, bytes int) { t.dropped.WithLabelValues(reason).Add(float64(bytes)) }
