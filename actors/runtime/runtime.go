// Package runtime assembles one node: its store, its shards, its actors, and the API over them.
//
//	o := runtime.DefaultOptions()
//	o.DataDir, o.NodeName = "./data", "n1"
//	o.Logger, o.Metrics, o.Edge = logger, registry, hub
//	node, err := runtime.Open(ctx, o)
//	if err != nil {
//		return err
//	}
//	defer node.Close()
//	if err := node.WaitReady(ctx); err != nil {
//		return err
//	}
//	user, err := node.API().CreateUser(ctx, admin, "", &eventv1.User{Name: "ann"})
package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/actors/api"
	"parley/actors/application"
	"parley/actors/blob"
	"parley/actors/blob/image"
	"parley/actors/blob/sweep"
	"parley/actors/conversation"
	"parley/actors/driver"
	"parley/actors/fanout"
	"parley/actors/grain"
	"parley/actors/name"
	"parley/actors/outbox"
	"parley/actors/placement"
	"parley/actors/system"
	"parley/actors/user"
	"parley/cluster/directory"
	"parley/cluster/membership"
	"parley/cluster/recovery"
	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/cluster/version"
	"parley/internal/telemetry"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// Runtime is one running node below its edge. Safe for concurrent use.
type Runtime struct {
	// Fixed at Open, in the order of opening; Close goes backwards.
	options     Options
	identity    store.Identity
	incarnation uint64 // rises with every start
	shards      uint32
	store       *store.Store
	public      *public
	book        addressBook
	transport   *transport.TCP
	describing  sync.Mutex      // guards meta
	meta        membership.Meta // what the gossip says of this node
	relay       *relay
	host        *shard.Host
	directory   *directory.Table
	members     *membership.Members
	inbound     *fanout.Inbound
	fanout      *fanout.Fanout
	queries     *queries
	system      *system.System
	outbox      *outbox.Outbox
	tenants     *application.View
	api         *api.Service
	driver      *driver.Driver
	silent      *telemetry.Seldom // nodes that do not say who is connected to them
	sweeper     *sweep.Sweeper

	ctx       context.Context // ends with Close; for work that belongs to the node itself
	cancel    context.CancelFunc
	group     errgroup.Group
	tasks     errgroup.Group // what other nodes asked for; at most nodeTasksMax
	closers   []func() error
	draining  atomic.Bool
	drained   atomic.Bool   // by an operator
	drains    chan struct{} // capacity 1: an operator began to drain
	spaces    chan struct{} // capacity 1: the disk became full, or has space again
	ready     chan struct{} // closed once all shards are served and the node is a member
	member    chan struct{} // closed once the node is a member
	expelled  chan struct{} // closed once the cluster refuses the node
	reason    error         // why; set before expelled is closed
	expelOnce sync.Once

	gate       *version.Gate
	marker     *recovery.Marker // nil: nothing of an unsafe recovery is left to do
	orders     atomic.Uint64    // the latest driver that this node has obeyed, by its epoch
	recovering atomic.Bool      // an unsafe recovery of this store is not complete: nobody drives from here

	announcer announcer
	departed  departed
	closed    atomic.Bool
}

// Open starts a node. It returns before the node is ready: WaitReady waits for that. ctx bounds
// the opening alone.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	r := &Runtime{options: o, relay: newRelay(), ready: make(chan struct{}),
		member: make(chan struct{}), expelled: make(chan struct{}), drains: make(chan struct{}, 1), spaces: make(chan struct{}, 1),
		announcer: announcer{make(chan struct{}, 1)}, departed: newDeparted(), silent: telemetry.NewSeldom(silentEvery)}
	r.tasks.SetLimit(nodeTasksMax)
	r.gate = version.NewGate(o.Versions, version.Features())
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open node %s: %w", o.NodeName, err), r.Close())
	}
	return r, nil
}

func (r *Runtime) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		r.openStore, r.openRecovery, r.openMembership, r.belong, r.openShards, r.openActors, r.openAPI, r.openDriver,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	// Fan-out and outbox hear of a lead before the directory lets activations begin.
	r.relay.attach(r.fanout, r.outbox, r.directory, r.announcer)
	for _, loop := range []func(context.Context){
		r.awaitReady, r.watch, r.tellSpace, r.announce, r.followPublic, r.keepPublic, r.beat, r.settle, r.enlist, r.dropDeparted,
	} {
		r.group.Go(func() error { loop(r.ctx); return nil })
	}
	r.group.Go(func() error { r.completeRecovery(r.ctx); return r.driver.Run(r.ctx) })
	r.group.Go(func() error { return r.sweeper.Run(r.ctx) })
	return nil
}

// opened notes how to undo a step.
func (r *Runtime) opened(undo func() error) { r.closers = append(r.closers, undo) }

func (r *Runtime) openStore(context.Context) (err error) {
	o := r.options.Store
	o.Logger, o.Metrics = r.options.Logger, r.options.Metrics
	if r.store, err = store.Open(r.options.DataDir, o); err != nil {
		return err
	}
	r.opened(r.store.Close)
	r.opened(r.tasks.Wait) // closing the host has ended the wait for space of those that write
	r.opened(r.group.Wait)
	if r.incarnation, err = r.store.BeginLife(uint64(r.options.Now().UnixNano())); err != nil {
		return err
	}
	if r.public, err = openPublic(r.store); err != nil {
		return err
	}
	r.tenants = application.NewView(r.public)
	return nil
}

func (r *Runtime) openShards(context.Context) (err error) {
	r.options.fill(r.shards)
	r.options.Host.Removed, r.options.Host.Space = r.departed.Removed, r.onSpace
	o := r.options.Transport
	o.Logger, o.Metrics = r.options.Logger, r.options.Metrics
	o.Identity = transport.Identity{
		Cluster: r.identity.ClusterID, Node: r.identity.NodeName, Store: r.identity.StoreUUID, Incarnation: r.incarnation,
		Versions: r.options.Versions,
	}
	o.Admit, o.Removed = r.admit, r.removed
	if err := r.speak(); err != nil {
		return err
	}
	if r.transport, err = transport.ListenTCP(r.options.RaftAddr, &r.book, o); err != nil {
		return err
	}
	if r.host, err = shard.Open(r.store, r.transport, r.relay, r.options.Host); err != nil {
		return errors.Join(err, r.transport.Close())
	}
	r.opened(r.host.Close)
	r.directory = directory.New(r.options.NodeName, r.shards)
	return r.public.look()
}

// openMembership joins the gossip. It comes before all that needs to know the cluster, because an
// empty node learns from it which cluster there is.
func (r *Runtime) openMembership(context.Context) error {
	identity, known, err := r.store.Identity()
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	o := r.options.Membership
	o.NodeName, o.BindAddr, o.Join = r.options.NodeName, r.options.GossipAddr, r.seeds()
	o.AdvertiseAddr = r.options.advertised(o.BindAddr)
	o.Logger, o.Metrics = r.options.Logger, r.options.Metrics
	o.Meta.HTTP, o.Meta.Incarnation, o.Meta.Roles = r.options.HTTPAddr, r.incarnation, r.options.Roles
	if known {
		o.Meta.Cluster, o.Meta.Shards = identity.ClusterID, identity.Shards
	}
	if r.members, err = membership.Open(o); err != nil {
		return err
	}
	r.meta = o.Meta
	r.book = addressBook{r.members, r.public}
	r.opened(r.members.Close)
	return nil
}

func (r *Runtime) openActors(context.Context) (err error) {
	r.inbound, err = fanout.NewInbound(r.options.NodeName, r.options.Edge, time.Now, r.options.Metrics)
	if err != nil {
		return err
	}
	r.directory.OnChange(func(l directory.Lead) { r.inbound.LeadChanged(l.Lead) })
	o := r.options.Fanout
	o.Head, o.Remote, o.Edge, o.Incarnation = r.head, r.deliver, r.inbound, r.incarnation
	if r.fanout, err = fanout.New(o); err != nil {
		return err
	}
	r.queries = openQueries(r.host, r.shards, r.options.QueryWorkers)
	r.opened(r.queries.close)
	kinds, err := r.kinds()
	if err != nil {
		return err
	}
	s := r.options.System
	s.Gate = r.gate
	s.Directory, s.Views, s.Kinds, s.Querier = r.directory, r.members, kinds, r.queries.serve
	if r.system, err = system.Open(s); err != nil {
		return err
	}
	r.opened(r.system.Close)
	a := r.Addresses()
	r.meta.RPC, r.meta.Raft = a.RPC, a.Raft // nobody else runs yet who would change it
	r.meta.Cluster, r.meta.Shards = r.identity.ClusterID, r.shards
	if err := r.members.UpdateMeta(r.meta); err != nil {
		return fmt.Errorf("tell the node's address: %w", err)
	}
	b := r.options.Outbox
	b.Host, b.Caller, b.Now = r.host, r.system.Caller(), r.options.Now
	if b.Sinks, err = r.openSinks(); err != nil {
		return err
	}
	if r.outbox, err = outbox.Open(r.ctx, b); err != nil {
		return err
	}
	r.opened(r.outbox.Close)
	return r.listen()
}

// kinds are the grains that a node can host.
func (r *Runtime) kinds() ([]system.Kind, error) {
	m, err := grain.NewMetrics(r.options.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register grain metrics: %w", err)
	}
	if err := r.options.Grain.Validate(); err != nil {
		return nil, err
	}
	setting := &grain.Setting{
		Host: r.host, Listener: listener{r}, Options: r.options.Grain, Metrics: m,
		Now: func() int64 { return r.options.Now().UnixMilli() }, Sinks: r.sinksOf,
	}
	var kinds []system.Kind
	for _, k := range []struct {
		kind   nodev1.Kind
		name   string
		create func(grain.Entity) grain.Machine
	}{
		{nodev1.Kind_KIND_CONVERSATION, "conversation", conversation.New},
		{nodev1.Kind_KIND_USER, "user", user.New},
		{nodev1.Kind_KIND_NAME, "name", name.New},
		{nodev1.Kind_KIND_APPLICATION, "application", application.New},
		{nodev1.Kind_KIND_BLOB, "blob", blob.New},
		{nodev1.Kind_KIND_IMAGE, "image", image.New},
		{nodev1.Kind_KIND_PLACEMENT, "placement", placement.New},
	} {
		kinds = append(kinds, system.Kind{
			Kind: k.kind, Name: k.name, PassivateAfter: r.options.PassivateAfter,
			Activate: func(i system.Identity, post func(any)) system.Activation {
				e := grain.Entity{Shard: i.Shard, Kind: i.Kind, Application: i.Application, ID: i.ID}
				return grain.Activate(e, i.Epoch, k.create, setting, post)
			},
		})
	}
	return kinds, nil
}

// listener passes on what committed. Activations begin after the outbox is there: the directory
// hears of no lead before.
type listener struct{ r *Runtime }

// Broadcast implements grain.Listener.
func (l listener) Broadcast(s keys.Shard, items []*nodev1.Fanout) { l.r.fanout.Broadcast(s, items) }

// Missed implements grain.Listener.
func (l listener) Missed(s keys.Shard) {
	l.r.outbox.Missed(s)
	l.r.fanout.Missed(s)
}

// Posted implements grain.Listener.
func (l listener) Posted(s keys.Shard, rows []grain.Row) { l.r.outbox.Posted(s, rows) }

func (r *Runtime) openAPI(context.Context) (err error) {
	o := r.options.API
	o.Caller, o.Acks, o.Meta, o.Interest = r.system.Caller(), r.outbox, r.public, r.interest
	o.Applications, o.Nearby = r.tenants, r.host.Reader()
	o.Gate, o.Incarnation = r.gate, r.incarnation
	o.Fresh = r.fresh
	if r.api, err = api.New(o); err != nil {
		return err
	}
	w := r.options.Sweep
	w.Reader, w.Leads, w.Asker = r.host.Reader(), r.served, r.system.Caller()
	r.sweeper, err = sweep.New(w)
	return err
}

func (r *Runtime) openDriver(context.Context) (err error) {
	o := r.options.Driver
	o.Cluster = r
	r.driver, err = driver.New(o)
	return err
}

// served are the data shards whose grains live here now.
func (r *Runtime) served() (shards []keys.Shard) {
	for s := keys.Meta + 1; s <= keys.Shard(r.shards); s++ {
		if r.directory.Get(s).Serves() {
			shards = append(shards, s)
		}
	}
	return shards
}

// API is what an edge may ask of the cluster.
func (r *Runtime) API() *api.Service { return r.api }

// ClusterID is the id that the cluster was founded with.
func (r *Runtime) ClusterID() string { return r.identity.ClusterID }

// Shards is the cluster's number of data shards.
func (r *Runtime) Shards() uint32 { return r.shards }

// Addresses are where other nodes reach the node, host:port.
type Addresses struct{ Gossip, RPC, Raft string }

// Addresses tells where others reach this node, also at ports that were asked for as 0.
func (r *Runtime) Addresses() Addresses {
	raft := r.transport.Addr().String()
	if told := r.options.advertised(raft); told != "" {
		raft = told
	}
	return Addresses{Gossip: r.members.Addr(), RPC: r.system.Addr(), Raft: raft}
}

// Close stops the node: first what asks, then what answers, then what keeps. Commands in flight
// are answered. It may be called more than once.
func (r *Runtime) Close() error {
	if !r.closed.CompareAndSwap(false, true) {
		return nil
	}
	r.draining.Store(true)
	r.cancel()
	errs := []error{}
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}
