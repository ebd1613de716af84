// Package system runs actors on one node and reaches those on others. It is the one place that
// knows protoactor: everything above sees identities, requests and replies.
//
// A request goes to the leader of its identity's shard. There a placement actor, one a shard,
// makes the grain if it has to and hands the request on, so a grain receives from its placement
// alone: passivation and the end of an epoch need no lock and lose nothing. docs/protoactor.md
// lists the library's traps and where each is closed.
package system

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/cluster/directory"
	"parley/cluster/membership"
	"parley/cluster/version"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// Views is where the system hears about other nodes; *membership.Members is one.
type Views interface {
	// Watch gives a channel that always holds the newest view not yet taken, and how to stop.
	Watch() (views <-chan *membership.View, stop func())
}

// Options are what a System is made of. Start from DefaultOptions.
type Options struct {
	NodeName   string
	ListenAddr string // host:port of the actor remote; port 0 = any free one
	// AdvertiseAddr is what other nodes dial; empty = the bound address. Its port may be 0 only
	// when ListenAddr's is not.
	AdvertiseAddr string
	TLS           *tls.Config // both sides of every connection between nodes; nil = plain TCP
	Directory     *directory.Table
	Views         Views         // nil = this node is alone
	Gate          *version.Gate // of what may be said to other nodes; nil = everything
	Kinds         []Kind
	Querier       Querier
	Logger        *slog.Logger
	Metrics       prometheus.Registerer

	CallTimeout     time.Duration // of a call whose context has no deadline
	AttemptTimeout  time.Duration // silence after which a remote attempt is repeated, doubling
	LeaderlessMax   time.Duration // how long a call waits for a leader that is not known, or whose node is silent
	BackoffMin      time.Duration // first pause between attempts, doubling, with jitter
	BackoffMax      time.Duration
	WaitingPerGrain int           // requests that wait for one grain's answer
	WaitingPerNode  int           // requests that wait for answers of all grains and queries here
	CallsMax        int           // calls in flight that were made on this node
	RetryAfter      time.Duration // advice in the refusal of a request over a limit
	PassivateTick   time.Duration // resolution of Kind.PassivateAfter
	StopTimeout     time.Duration // how long Close waits for grains to stop
}

// DefaultOptions are the tunables of a production node; what identifies the node is left empty.
func DefaultOptions() Options {
	return Options{
		CallTimeout: 5 * time.Second, AttemptTimeout: 500 * time.Millisecond, LeaderlessMax: 1750 * time.Millisecond,
		BackoffMin: 2 * time.Millisecond, BackoffMax: 100 * time.Millisecond,
		WaitingPerGrain: 4096, WaitingPerNode: 1 << 16, CallsMax: 1 << 17,
		RetryAfter: time.Second, PassivateTick: 5 * time.Second, StopTimeout: 5 * time.Second,
	}
}

// Validate says what is missing or out of range.
func (o *Options) Validate() error {
	switch {
	case o.NodeName == "":
		return errors.New("a node name is needed")
	case o.Directory == nil || o.Logger == nil || o.Metrics == nil:
		return errors.New("directory, logger and metrics are needed")
	case o.Directory.Node() != o.NodeName:
		return fmt.Errorf("the directory belongs to node %q", o.Directory.Node())
	case o.Querier == nil:
		return errors.New("a querier is needed")
	case min(o.CallTimeout, o.AttemptTimeout, o.LeaderlessMax, o.BackoffMin, o.BackoffMax, o.RetryAfter, o.PassivateTick, o.StopTimeout) <= 0:
		return errors.New("all durations must be positive")
	case min(o.WaitingPerGrain, o.WaitingPerNode, o.CallsMax) <= 0:
		return errors.New("all limits must be positive")
	}
	seen := map[nodev1.Kind]bool{}
	for _, k := range o.Kinds {
		if k.Activate == nil || k.Name == "" || seen[k.Kind] {
			return fmt.Errorf("kind %q: needs a name and an Activate function, and must be unique", k.Name)
		}
		seen[k.Kind] = true
	}
	return nil
}

// System is one node's actors. All methods may be called from any goroutine.
type System struct {
	// Fixed at Open.
	o          Options
	dir        *directory.Table
	kinds      map[nodev1.Kind]*Kind
	actors     *actor.ActorSystem
	cluster    *cluster.Cluster
	caller     *Caller
	peers      *peers
	metrics    *metrics
	placements []*actor.PID // by shard
	group      *errgroup.Group
	cancel     context.CancelFunc

	waiting  atomic.Int64 // admitted requests that have no answer yet
	spawned  atomic.Uint64
	inflight atomic.Int64 // live grains
	closed   atomic.Bool

	mu        sync.Mutex // guards receivers
	receivers []*actor.PID

	outgoing sync.RWMutex // guards down; held while something is sent that may leave the node
	down     bool
}

// Open starts the node's actors and its side of the remote. The caller closes what it got.
func Open(o Options) (*System, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("open actor system: %w", err)
	}
	s := &System{o: o, dir: o.Directory, kinds: map[nodev1.Kind]*Kind{}}
	for i := range o.Kinds {
		s.kinds[o.Kinds[i].Kind] = &o.Kinds[i]
	}
	advertise, err := advertised(o.ListenAddr, o.AdvertiseAddr)
	if err != nil {
		return nil, fmt.Errorf("open actor system: %w", err)
	}
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("open actor system: %w", err)
	}
	s.peers = newPeers()
	s.actors = newActorSystem(o.Logger)
	s.caller = newCaller(s)
	if err := s.startCluster(advertise); err != nil {
		s.metrics.unregister()
		return nil, fmt.Errorf("open actor system: %w", err)
	}
	s.dir.SetAddress(o.NodeName, s.Addr())
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.group, ctx = errgroup.WithContext(ctx)
	s.group.Go(func() error { s.caller.sweep(ctx); return nil })
	s.group.Go(func() error { s.passivate(ctx); return nil })
	if o.Views != nil {
		s.group.Go(func() error { s.follow(ctx); return nil })
	}
	s.dir.OnChange(s.leadChanged)
	return s, nil
}

// Addr is the address that other nodes dial.
func (s *System) Addr() string { return s.actors.Address() }

// Caller gives the way to call grains, here and elsewhere.
func (s *System) Caller() *Caller { return s.caller }

// Activations is the number of grains that live here.
func (s *System) Activations() int { return int(s.inflight.Load()) }

// Close ends all grains, which answer what waits, then all calls, then the remote. The order
// matters: replies to other nodes leave while their connections stand.
func (s *System) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	var errs []error
	if !s.stopPlacements() {
		errs = append(errs, fmt.Errorf("close actor system: grains still stopping after %s", s.o.StopTimeout))
	}
	s.caller.close()
	s.cancel()
	errs = append(errs, s.group.Wait(), s.stopReceivers(), s.stopCluster())
	s.metrics.unregister()
	return errors.Join(errs...)
}

// leadChanged runs under the directory's lock: it only sends.
func (s *System) leadChanged(l directory.Lead) {
	if s.closed.Load() {
		return
	}
	s.actors.Root.Send(s.placements[l.Shard], leadMoved{})
	s.caller.wake()
}

// passivate lets placements look for idle grains.
func (s *System) passivate(ctx context.Context) {
	ticker := time.NewTicker(s.o.PassivateTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.tick()
		}
	}
}

func (s *System) tick() {
	for _, pid := range s.placements {
		s.actors.Root.Send(pid, tick{})
	}
}

// stopPlacements ends all grains and gives false when some did not stop in time.
func (s *System) stopPlacements() bool {
	stopped := make(chan struct{}, len(s.placements)) // one for each: no placement ever waits
	for _, pid := range s.placements {
		s.actors.Root.Send(pid, shutdown{done: func() { stopped <- struct{}{} }})
	}
	timeout := time.NewTimer(s.o.StopTimeout)
	defer timeout.Stop()
	for range s.placements {
		select {
		case <-stopped:
		case <-timeout.C:
			return false
		}
	}
	return true
}

// ShardOf gives the shard that req belongs to: the meta shard for applications and the placement,
// the named one for queries over a shard, else the hash of application and id.
func ShardOf(req *nodev1.GrainRequest, shards uint32) (keys.Shard, error) {
	switch req.GetKind() {
	case nodev1.Kind_KIND_APPLICATION, nodev1.Kind_KIND_PLACEMENT:
		return keys.Meta, nil
	case nodev1.Kind_KIND_SHARD:
		n, err := strconv.ParseUint(req.GetId(), 10, 32)
		if err != nil || n > uint64(shards) {
			return 0, fmt.Errorf("%q is not a shard of this cluster", req.GetId())
		}
		return keys.Shard(n), nil
	default:
		return keys.ShardOf(req.GetApplicationId(), req.GetId(), shards), nil
	}
}

// advertised is what the remote is told to call itself; "" = the address it binds.
func advertised(listen, advertise string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen address: %w", err)
	}
	unspecified := host == "" || net.ParseIP(host).IsUnspecified()
	if advertise == "" {
		if unspecified {
			return "", fmt.Errorf("listen address %s: an advertise address is needed with a wildcard", listen)
		}
		return "", nil
	}
	ahost, aport, err := net.SplitHostPort(advertise)
	if err != nil {
		return "", fmt.Errorf("advertise address: %w", err)
	}
	if aport == "0" {
		if port == "0" {
			return "", fmt.Errorf("advertise address %s: its port must be known when the listen port is 0", advertise)
		}
		aport = port
	}
	return net.JoinHostPort(ahost, aport), nil
}
