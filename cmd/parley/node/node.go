// Package node puts the parts of one running node together, and takes them apart in order.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/cluster/certs"
	"parley/cmd/parley/settings"
	"parley/edge/console"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/media/objects"
	"parley/edge/receipt"
	"parley/edge/server"
	"parley/edge/socket"
	"parley/edge/socketio"
	"parley/edge/ws"
	"parley/internal/guard"
	"parley/internal/telemetry"
)

// nameFile keeps the name of a node that was not given one, so that the same command line starts
// the same node again.
const nameFile = "node-name"

// Options are what a Node is made from.
type Options struct {
	Settings settings.Settings
	Logger   *slog.Logger
	// Reload, when set, asks with each value that the files of certs-dir are read again at once.
	Reload <-chan os.Signal
	// Demo gives the demo page its tokens; nil = the page asks its user. See console.Options.
	Demo func(ctx context.Context) (console.Session, error)
}

// Node is one running node: store, shards, actors and edge.
type Node struct {
	options     Options
	name        string
	metrics     *prometheus.Registry
	addresses   Addresses
	credentials Credentials
	settled     atomic.Bool // the credentials are known to be stored

	certs   *certs.Source // nil: plain text between nodes
	targets *guard.Guard  // what webhooks may reach

	// In the order of opening. A part that is nil was not opened.
	server   *server.Server
	sockets  *socket.Server // nil, like hub, receipts, gate, realtime and legacy: a node without an edge
	hub      *hub.Hub
	objects  *objects.Store // nil: blobs are kept in the cluster
	runtime  *runtime.Runtime
	receipts *receipt.Queue
	gate     *gate.Gate
	realtime *ws.Handler
	legacy   *socketio.Handler
}

// ErrStopped is what Open gives when it was told to end before the node served, and nothing else was wrong.
var ErrStopped = errors.New("stopped before it served")

// Open starts a node and returns when it serves. Settings must be valid.
func Open(ctx context.Context, o Options) (*Node, error) {
	n := &Node{options: o, metrics: telemetry.NewRegistry()}
	for _, step := range []func(context.Context) error{n.openData, n.openServer, n.openHub, n.openObjects, n.openRuntime, n.openEdge, n.settle} {
		if err := step(ctx); err != nil {
			closed := n.Close()
			if closed == nil && told(ctx, err) {
				return nil, fmt.Errorf("%w: %w", ErrStopped, err)
			}
			return nil, errors.Join(err, closed)
		}
	}
	return n, nil
}

// told says whether err is no more than the end of ctx.
func told(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// Addresses are where the node listens.
func (n *Node) Addresses() Addresses { return n.addresses }

// ServesClients says whether the node has an edge.
func (n *Node) ServesClients() bool { return n.options.Settings.HasRole(driver.RoleEdge) }

// Credentials are the API key and, when this start knows it, the secret.
func (n *Node) Credentials() Credentials { return n.credentials }

// Run serves until ctx ends, then closes the node. It ends by itself, with the reason, when the
// cluster refuses the node or its disk gives back something else than was written.
func (n *Node) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { n.renew(ctx) })
	defer renewing.Wait()
	defer stop()
	late := time.NewTicker(awayEvery)
	defer late.Stop()
	for {
		select {
		case <-n.runtime.Expelled():
			n.options.Logger.Error("stopping", "error", n.runtime.WhyExpelled())
			return errors.Join(n.runtime.WhyExpelled(), n.Close())
		case <-n.runtime.Damaged():
			n.options.Logger.Error("stopping", "error", n.runtime.Damage())
			return errors.Join(n.runtime.Damage(), n.Close())
		case <-n.runtime.Drains():
			n.options.Logger.Info("drained by an operator: clients are sent to other nodes")
			n.sendAway(ctx)
		case <-late.C:
			if n.runtime.Drained() {
				n.sendAway(ctx)
			}
		case <-ctx.Done():
			n.options.Logger.Info("stopping", "grace", n.options.Settings.ShutdownGrace)
			return n.Close()
		}
	}
}

// awayEvery is how long a client may stay that came to a drained node: its load balancer had not
// noticed yet.
const awayEvery = time.Second

// sendAway tells the connected clients to resume elsewhere, those that poll at the same time as the others.
func (n *Node) sendAway(ctx context.Context) {
	if n.sockets == nil {
		return
	}
	var pollers sync.WaitGroup
	defer pollers.Wait()
	pollers.Go(func() { n.sendPollersAway(ctx) })
	n.sockets.SendAway(ctx)
}

func (n *Node) sendPollersAway(ctx context.Context) {
	if n.legacy != nil {
		n.legacy.SendAway(ctx)
	}
}

// closeSockets ends the WebSockets, and sends away those that poll meanwhile.
func (n *Node) closeSockets(ctx context.Context) error {
	if n.sockets == nil {
		return nil
	}
	var pollers sync.WaitGroup
	defer pollers.Wait()
	pollers.Go(func() { n.sendPollersAway(ctx) })
	return n.sockets.Close(ctx)
}

// Close stops the node: it turns away new clients, sends the connected ones elsewhere, answers
// what is in flight, and closes what keeps data last. It takes at most the grace period, and what
// the disk needs.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.options.Settings.ShutdownGrace)
	defer cancel()
	return n.stop(ctx)
}

// stop is Close within ctx.
func (n *Node) stop(ctx context.Context) error {
	stop := context.AfterFunc(ctx, n.hurry)
	defer stop()
	var errs []error
	if n.server != nil {
		n.server.Drain()
	}
	if n.runtime != nil {
		n.linger(ctx)
		n.handOver(ctx)
	}
	errs = append(errs, n.closeSockets(ctx))
	if n.realtime != nil {
		errs = append(errs, n.realtime.Close())
	}
	if n.legacy != nil {
		errs = append(errs, n.legacy.Close(ctx))
	}
	if n.receipts != nil {
		errs = append(errs, n.receipts.Close())
	}
	if n.gate != nil {
		errs = append(errs, n.gate.Close())
	}
	if n.server != nil {
		errs = append(errs, n.server.Close(ctx))
	}
	if n.hub != nil {
		errs = append(errs, n.hub.Close())
	}
	if n.runtime != nil {
		if err := n.runtime.Leave(ctx); err != nil {
			n.options.Logger.Debug("others see this stop as a failure", "error", err)
		}
		errs = append(errs, n.runtime.Close())
	}
	if n.objects != nil {
		errs = append(errs, n.objects.Close())
	}
	return errors.Join(errs...)
}

// hurry ends the commands of clients: those on their way have had the whole grace period.
func (n *Node) hurry() {
	if n.realtime != nil {
		n.realtime.Hurry()
	}
	if n.legacy != nil {
		n.legacy.Hurry()
	}
}

// linger serves on as before while load balancers notice that the node is not ready any more.
func (n *Node) linger(ctx context.Context) {
	delay := time.NewTimer(n.options.Settings.ShutdownDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
}

// handOver gives away what the node leads, within half of the grace period: the rest is for clients.
func (n *Node) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.options.Settings.ShutdownGrace/2)
	defer cancel()
	if err := n.runtime.Drain(ctx); err != nil {
		n.options.Logger.Warn("stopping without a handover", "error", err)
	}
}

func (n *Node) openData(context.Context) error {
	dir := n.options.Settings.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	path := filepath.Join(dir, nameFile)
	kept, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read the node's name: %w", err)
	}
	n.name = n.options.Settings.NodeName
	if n.name == "" {
		n.name = strings.TrimSpace(string(kept))
	}
	if n.name == "" {
		n.name = "node-" + random(apiKeyBytes)
	}
	if len(kept) > 0 {
		return nil
	}
	if err := os.WriteFile(path, []byte(n.name+"\n"), 0o644); err != nil {
		return fmt.Errorf("keep the node's name: %w", err)
	}
	return nil
}

func (n *Node) openServer(context.Context) (err error) {
	o := server.DefaultOptions()
	o.HTTPAddr, o.AdminAddr = n.options.Settings.HTTPAddr, n.options.Settings.AdminAddr
	if o.TrustedProxies, err = n.options.Settings.Proxies(); err != nil {
		return err
	}
	o.Gatherer, o.Registerer, o.Logger = n.metrics, n.metrics, n.options.Logger
	if n.server, err = server.Open(o); err != nil {
		return err
	}
	n.addresses.HTTP = n.server.Addr().String()
	if a := n.server.AdminAddr(); a != nil {
		n.addresses.Admin = a.String()
	}
	return nil
}

// openHub makes what the runtime delivers to. It is completed once the runtime is there.
func (n *Node) openHub(ctx context.Context) (err error) {
	if !n.options.Settings.HasRole(driver.RoleEdge) {
		return nil
	}
	s := socket.DefaultOptions()
	s.Logger, s.Registerer = n.options.Logger, n.metrics
	if n.sockets, err = socket.New(context.WithoutCancel(ctx), s); err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	h := hub.DefaultOptions()
	h.Logger, h.Registerer = n.options.Logger, n.metrics
	if n.hub, err = hub.New(n.sockets.Pump(), h); err != nil {
		return fmt.Errorf("open hub: %w", err)
	}
	return nil
}

func (n *Node) openRuntime(ctx context.Context) (err error) {
	s := n.options.Settings
	o := runtime.DefaultOptions()
	o.DataDir, o.NodeName, o.Join = s.DataDir, n.name, s.Join
	o.GossipAddr, o.RPCAddr, o.RaftAddr, o.HTTPAddr = s.GossipAddr, s.RPCAddr, s.RaftAddr, n.addresses.reachedBy(s.AdvertiseHost)
	o.AdvertiseHost, o.Roles, o.Shards = s.AdvertiseHost, s.Roles, uint32(s.Shards)
	o.Logger, o.Metrics = n.options.Logger, n.metrics
	if o.Store.MinFreeBytes, err = s.MinFreeBytes(); err != nil {
		return err
	}
	if n.hub != nil {
		o.Edge, o.Sessions, o.Connected, o.Live, o.Renew = n.hub, n.hub.Sessions, n.hub.Connected, n.hub.Live, n.hub.RenewSession
	}
	if n.targets, err = guard.New(s.Guard()); err != nil {
		return fmt.Errorf("webhook-allow: %w", err)
	}
	o.Webhook.Guard = n.targets
	o.Outbox.SinkLimits.AgeMax = s.DeliveryMaxAge
	if n.objects != nil {
		o.Objects = n.objects
	}
	if o.Push.Senders, err = s.Push.Senders(); err != nil {
		return fmt.Errorf("open push: %w", err)
	}
	if err := n.protect(&o); err != nil {
		return err
	}
	if n.runtime, err = runtime.Open(ctx, o); err != nil {
		return err
	}
	bound := n.runtime.Addresses()
	n.addresses.Gossip, n.addresses.RPC, n.addresses.Raft = bound.Gossip, bound.RPC, bound.Raft
	if n.hub != nil {
		n.hub.Start(context.WithoutCancel(ctx), n.runtime.API(), n.runtime)
	}
	return nil
}

// settle waits until the node serves, and tells where.
func (n *Node) settle(ctx context.Context) error {
	if err := n.runtime.WaitReady(ctx); err != nil {
		return err
	}
	s := n.options.Settings
	var err error
	n.credentials, err = firstCredentials(ctx, n.runtime.API(), Credentials{APIKey: s.APIKey, APISecret: s.APISecret})
	if err != nil {
		return err
	}
	n.settled.Store(true)
	return n.addresses.write(s.DataDir)
}
