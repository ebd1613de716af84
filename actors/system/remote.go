package system

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// MessageSizeMax bounds one message between nodes, in bytes.
	MessageSizeMax = 1 << 20
	// receiveMax bounds what the remote sends at once. Over it gRPC drops the connection with
	// all that is queued, so a full batch of the largest messages must fit.
	receiveMax = 64 << 20
	// envelopeOverhead is what a batch adds to each message: names, ids, framing.
	envelopeOverhead = 1 << 10
	batchMax         = receiveMax/(MessageSizeMax+envelopeOverhead) - 1
	// writerQueue is the first size of a peer's queue, which grows: the library's default
	// would allocate 16 MB a peer.
	writerQueue = 1024
)

// newActorSystem makes protoactor's part with its own traps closed.
func newActorSystem(logger *slog.Logger) *actor.ActorSystem {
	sys := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(&discreet{logger.Handler()}) }),
		actor.WithDeadLetterRequestLogging(false),
		// Dead letters are counted by who sent them, not logged: they carry what users wrote.
		actor.WithDeadLetterThrottleCount(0), actor.WithDeadLetterThrottleInterval(time.Millisecond))
	shrinkRegistry(sys.ProcessRegistry)
	// Names of processes come from this counter. From zero, a restarted node would take
	// replies that were meant for its last incarnation.
	sys.ProcessRegistry.SequenceID = uint64(time.Now().UnixNano())
	return sys
}

// registryBuckets is how many of the maps of processes are used: each has 32 maps with a lock of its own.
const registryBuckets = 32

// shrinkRegistry takes most of its 32,768 maps away from a registry that is not in use yet. Each of them
// keeps the room of the first process that ever had a name in it: a node would take 9 MB for this, bit
// by bit, while it makes and ends grains, beside 3 MB at once for the maps.
func shrinkRegistry(r *actor.ProcessRegistryValue) {
	all := r.LocalPIDs.LocalPIDs
	r.LocalPIDs.LocalPIDs = slices.Clone(all[:registryBuckets])
	for _, bucket := range all[registryBuckets:] {
		bucket.IterCb(func(name string, process any) { r.LocalPIDs.GetBucket(name).Set(name, process) })
	}
}

// newRemoteConfig configures the remote. advertise = "" leaves the bound address.
func (s *System) newRemoteConfig(advertise string) (*remote.Config, *doorbell, error) {
	host, text, err := net.SplitHostPort(s.o.ListenAddr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen address: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, nil, fmt.Errorf("listen port: %w", err)
	}
	ours, theirs := insecure.NewCredentials(), insecure.NewCredentials()
	if s.o.TLS != nil {
		ours, theirs = credentials.NewTLS(s.o.TLS), credentials.NewTLS(s.o.TLS)
	}
	bell := newDoorbell(theirs)
	config := remote.Configure(host, int(port),
		remote.WithAdvertisedHost(advertise),
		remote.WithEndpointWriterQueueSize(writerQueue),
		remote.WithEndpointWriterBatchSize(batchMax),
		remote.WithDialOptions(
			grpc.WithTransportCredentials(ours),
			grpc.WithContextDialer(s.dial),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveMax)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: time.Second,
			}),
			grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(4<<20)),
		remote.WithServerOptions(
			grpc.Creds(bell),
			grpc.MaxRecvMsgSize(receiveMax),
			grpc.StreamInterceptor(s.gateStream), grpc.UnaryInterceptor(refuseUnary),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
			grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(4<<20),
			grpc.WaitForHandlers(true)))
	config.MaxRetryCount = 1 // each further one sleeps two seconds with the queue in hand
	return config, bell, nil
}

func (s *System) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := s.peers.dial(ctx, addr)
	if err != nil {
		s.caller.wake()
	}
	return c, err
}

// onEvent hears what the remote publishes about its connections. It must not block.
func (s *System) onEvent(event any) {
	switch e := event.(type) {
	case *remote.EndpointTerminatedEvent:
		s.peers.lost(e.Address)
		s.caller.wake()
	case *remote.EndpointConnectedEvent:
		s.peers.connected(e.Address)
	case *actor.DeadLetterEvent:
		s.onDeadLetter(e)
	}
}

// onDeadLetter answers a request whose placement or grain is gone: nobody will execute it.
func (s *System) onDeadLetter(e *actor.DeadLetterEvent) {
	if in, ok := e.Message.(*inbound); ok && in.stage.Load() == queued {
		in.respond(notLeader())
	}
}

// startCluster starts the remote and the parts that protoactor's cluster asks for. It is started
// as a client on every node, because a "member" gossips, and the library's gossip blocks nodes for ever.
func (s *System) startCluster(advertise string) (err error) {
	config, bell, err := s.newRemoteConfig(advertise)
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil { // protoactor panics when it cannot listen
			err = fmt.Errorf("start remote on %s: %v", s.o.ListenAddr, r)
		}
	}()
	s.actors.ProcessRegistry.Add(&queries{s}, queriesName)
	s.cluster = s.newCluster(config)
	s.actors.EventStream.Subscribe(s.onEvent)
	s.cluster.StartClient()
	address := s.o.ListenAddr
	if advertise == "" {
		address = s.Addr() // the bound one
	}
	if err := bell.ring(address); err != nil {
		return errors.Join(err, s.stopCluster())
	}
	return nil
}

// stopCluster closes all connections. The library's own ways out are not taken: they race with
// connections that end meanwhile. Once nothing leaves and the server is down, nothing arrives
// either, and stopping the writers leaves nothing that runs.
func (s *System) stopCluster() error {
	s.outgoing.Lock()
	s.down = true
	s.outgoing.Unlock()
	err := s.cluster.Config.ClusterProvider.Shutdown(true)
	s.cluster.Remote.Shutdown(false) // returns when every stream's handler has
	writers := s.actors.NewLocalPID("EndpointSupervisor")
	err = errors.Join(err, s.actors.Root.StopFuture(writers).Wait())
	s.peers.close(writerPause + time.Second)
	s.actors.Shutdown()
	return err
}

// send hands msg to pid, which may be remote; sender may be nil. After stopCluster began it does
// nothing: the library would panic.
func (s *System) send(pid *actor.PID, msg any, sender *actor.PID) {
	s.outgoing.RLock()
	defer s.outgoing.RUnlock()
	if !s.down {
		s.actors.Root.RequestWithCustomSender(pid, msg, sender)
	}
}

// refuseUnary closes the remote's diagnostics: their handlers are unfinished and panic.
func refuseUnary(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.Unimplemented, "not served")
}

// discreet is protoactor's logger: everything but what users wrote, which it would attach.
type discreet struct{ slog.Handler }

// Handle drops the attributes that hold messages. A connection that ended because a node stops, this
// one or the other, is no error: who is gone is said where it is acted on.
func (d *discreet) Handle(ctx context.Context, r slog.Record) error {
	level := r.Level
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && ended(err) {
			level = slog.LevelDebug
		}
		return true
	})
	if !d.Handler.Enabled(ctx, level) {
		return nil
	}
	clean := slog.NewRecord(r.Time, level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "message" && a.Key != "sender" {
			clean.AddAttrs(a)
		}
		return true
	})
	return d.Handler.Handle(ctx, clean)
}

// ended says that a connection was closed from one of its ends.
func ended(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Unavailable:
		return true
	}
	return false
}

// Enabled lets warnings and errors through; the rest is the library's diary.
func (d *discreet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && d.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (d *discreet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &discreet{d.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (d *discreet) WithGroup(name string) slog.Handler { return &discreet{d.Handler.WithGroup(name)} }

var errClosed = errors.New("actor system is closed")
