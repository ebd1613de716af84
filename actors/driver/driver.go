// Package driver lets the cluster follow its placement: on the leader of the meta shard it
// observes all shards, writes down what is wanted next, and has it done, one small step at a time.
// Every step may be repeated, so a driver that dies is simply followed by the next one.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	plan "parley/cluster/placement"
	"parley/cluster/shard"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Cluster is what a driver asks of its node. Safe for concurrent use.
type Cluster interface {
	// Epoch is the meta shard's in which this node leads it now, and so drives; 0 when another does.
	Epoch() uint64
	// Public reads the rows of the placement.
	Public() store.Reader
	// Live says whether gossip believes that a node is alive.
	Live(node string) bool
	// Leaving says whether a node should be given nothing to lead: it is being stopped, or its disk is full.
	Leaving(node string) bool
	// Full lists the nodes whose disks are full, as far as gossip knows. They should be given no replica.
	Full() []string
	// Observe asks nodes how they and the shards they lead fare, and gives what those say that answer.
	Observe(ctx context.Context, nodes []string) []Answer
	// Order has a node change its replica of a shard. The node refuses it when it has heard of a
	// later driver than the one that o names.
	Order(ctx context.Context, node string, o *nodev1.Order) error
	// Place changes the placement.
	Place(ctx context.Context, c *nodev1.Command) error
}

// Answer is how a node says that it fares.
type Answer struct {
	Node   string
	Shards []*nodev1.ObservedShard // that it leads
	// Away says whether it sends its clients to other nodes, because it believes to be drained or removed;
	// nil of a build that does not say it.
	Away *bool
}

// Options are a driver's tunables. Start from DefaultOptions.
type Options struct {
	Cluster Cluster
	// Parallel is how many shards are changed at once.
	Parallel int
	// Handovers is how many leaderships are moved in one round.
	Handovers int
	// IdleEvery is the pause between two looks when there is nothing to do, BusyEvery when
	// something is on its way.
	IdleEvery, BusyEvery time.Duration
	// StepTimeout bounds one step.
	StepTimeout time.Duration
	// DeadAfter is how long a node may be dead before others get its replicas.
	DeadAfter time.Duration
	Now       func() time.Time
	Logger    *slog.Logger
	Metrics   prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production settings, without the Cluster.
func DefaultOptions() Options {
	return Options{
		Parallel: 4, Handovers: 8, IdleEvery: time.Second, BusyEvery: 50 * time.Millisecond,
		StepTimeout: 10 * time.Second, DeadAfter: 5 * time.Minute, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Cluster == nil || o.Now == nil || o.Logger == nil:
		return errors.New("driver options: Cluster, Now and Logger are needed")
	case o.Parallel < 1 || o.Handovers < 1:
		return errors.New("driver options: limits must be positive")
	case min(o.IdleEvery, o.BusyEvery, o.StepTimeout, o.DeadAfter) <= 0:
		return errors.New("driver options: times must be positive")
	}
	return nil
}

// Driver is the reconcile loop of one node. It does nothing while another node leads the meta shard.
type Driver struct {
	options Options
	wake    chan struct{} // capacity 1: any number of wakes before a look cost one
	metrics *metrics

	mu    sync.Mutex           // guards what follows
	dead  map[string]time.Time // since when
	until time.Time            // until when leaderships are spread evenly
}

// New makes a driver; Run runs it.
func New(o Options) (*Driver, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("driver metrics: %w", err)
	}
	return &Driver{options: o, wake: make(chan struct{}, 1), dead: map[string]time.Time{}, metrics: m}, nil
}

// Wake asks for a look soon. It never blocks.
func (d *Driver) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// evenlyFor is how long one Rebalance lasts.
const evenlyFor = time.Minute

// Rebalance has leaderships spread evenly for a while, without the slack that otherwise keeps them
// from moving to and fro.
func (d *Driver) Rebalance() {
	d.mu.Lock()
	d.until = d.options.Now().Add(evenlyFor)
	d.mu.Unlock()
	d.Wake()
}

func (d *Driver) evenly() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.options.Now().Before(d.until)
}

// Run drives until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	timer := time.NewTimer(d.options.IdleEvery)
	defer timer.Stop()
	for {
		pause := d.options.IdleEvery
		if d.options.Cluster.Epoch() != 0 {
			pause = d.round(ctx)
		} else {
			d.metrics.hide()
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-timer.C:
		}
	}
}

// Look gives the cluster's picture, with what this driver knows about the dead.
func (d *Driver) Look(ctx context.Context) (*Picture, error) {
	return Look(ctx, d.options.Cluster, d.deadFor, d.options.DeadAfter)
}

// deadFor says for how long a node has been seen dead.
func (d *Driver) deadFor(node string) time.Duration {
	now := d.options.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.options.Cluster.Live(node) {
		delete(d.dead, node)
		return 0
	}
	if _, known := d.dead[node]; !known {
		d.dead[node] = now
	}
	return now.Sub(d.dead[node])
}

// round looks once and takes every step that may be taken now. It gives the pause until the next.
func (d *Driver) round(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, d.options.StepTimeout)
	defer cancel()
	p, err := d.Look(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.options.Logger.Error("the placement could not be read", "error", err)
		}
		return d.options.IdleEvery
	}
	if p.Epoch == 0 {
		return d.options.IdleEvery // no driver any more
	}
	d.metrics.show(p)
	jobs, busy := d.jobs(p)
	var g errgroup.Group
	g.SetLimit(2 * d.options.Parallel)
	for _, j := range jobs {
		g.Go(func() error { d.do(ctx, j); return nil })
	}
	_ = g.Wait() // do reports by itself
	if len(jobs) > 0 || busy {
		return d.options.BusyEvery
	}
	return d.options.IdleEvery
}

// job is one step with its name for the metrics.
type job struct {
	kind string
	run  func(context.Context) error
}

func (d *Driver) do(ctx context.Context, j job) {
	err := j.run(ctx)
	outcome := "done"
	if err != nil {
		outcome = "failed"
		d.options.Logger.Debug("a step of the placement failed; it is tried again", "step", j.kind, "error", err)
	}
	d.metrics.steps.WithLabelValues(j.kind, outcome).Inc()
}

// jobs are the steps that may be taken now, at most one a shard, and whether anything is under way.
func (d *Driver) jobs(p *Picture) (jobs []job, busy bool) {
	on := plan.Assign(p.View)
	under := 0
	for i := range p.View.Shards {
		if s := &p.View.Shards[i]; s.Observed && p.Busy(s) {
			under++
		}
	}
	busy = under > 0
	acting := map[int]bool{}
	for i := range p.View.Shards {
		s := &p.View.Shards[i]
		if len(acting) < d.options.Parallel {
			if a, ok := plan.Act(p.View, s); ok {
				acting[i] = true
				jobs = append(jobs, d.act(p, s, a))
			}
		}
		if acting[i] {
			continue
		}
		started := s.Observed && p.Busy(s)
		if !started && under >= d.options.Parallel {
			continue
		}
		if rows, ok := plan.Intent(p.View, s, on[s.ID]); ok {
			jobs = append(jobs, d.intend(s, rows))
			if !started {
				under++
			}
		}
	}
	for _, h := range plan.Leaders(p.View, d.options.Handovers, d.evenly()) {
		jobs = append(jobs, d.order("handover", h.From.Node, &nodev1.Order{DriverEpoch: p.Epoch,
			Shard: uint32(h.Shard), Kind: nodev1.OrderKind_ORDER_KIND_TRANSFER, Replica: h.To.ID}))
	}
	if to := p.raisable(); to > p.Version {
		c := command(&nodev1.Command{Body: &nodev1.Command_RaiseVersion{RaiseVersion: &nodev1.RaiseVersion{Version: uint32(to)}}})
		jobs = append(jobs, job{"raise", func(ctx context.Context) error { return d.options.Cluster.Place(ctx, c) }})
	}
	return append(jobs, d.farewells(p)...), busy
}

func (d *Driver) intend(s *plan.Shard, rows []plan.Replica) job {
	row := rowOf(s, rows)
	return job{"intend", func(ctx context.Context) error { return d.place(ctx, row) }}
}

func (d *Driver) place(ctx context.Context, row *eventv1.ShardMap) error {
	err := d.options.Cluster.Place(ctx, command(&nodev1.Command{Body: &nodev1.Command_PutShard{PutShard: &nodev1.PutShard{Shard: row}}}))
	if code.Has(err, code.IdempotencyConflict) {
		return nil // somebody else has decided: the next look shows what
	}
	return err
}

func command(c *nodev1.Command) *nodev1.Command {
	c.Principal = &nodev1.Principal{Admin: true}
	return c
}

func (d *Driver) order(kind, node string, o *nodev1.Order) job {
	return job{kind, func(ctx context.Context) error { return d.options.Cluster.Order(ctx, node, o) }}
}

// act has one action of a shard done.
func (d *Driver) act(p *Picture, s *plan.Shard, a plan.Action) job {
	leader := nodeOf(p.Seen[uint32(s.ID)])
	order := func(kind nodev1.OrderKind) *nodev1.Order {
		return &nodev1.Order{Shard: uint32(s.ID), Kind: kind, DriverEpoch: p.Epoch, Configured: p.Seen[uint32(s.ID)].GetConfigured()}
	}
	switch a.Kind {
	case plan.Add:
		return job{"add", func(ctx context.Context) error { return d.add(ctx, leader, a.Replicas, order) }}
	case plan.Configure:
		o := order(nodev1.OrderKind_ORDER_KIND_CONFIGURE)
		for _, r := range a.Replicas {
			kind := shard.AddVoter
			if r.Role == plan.Leaving {
				kind = shard.Remove
			}
			o.Changes = append(o.Changes, &nodev1.ConfChange{Kind: uint32(kind), Replica: r.ID, Node: r.Node})
		}
		return d.order("configure", leader, o)
	case plan.Transfer:
		o := order(nodev1.OrderKind_ORDER_KIND_TRANSFER)
		o.Replica = a.Replicas[0].ID
		return d.order("transfer", leader, o)
	default:
		o := order(nodev1.OrderKind_ORDER_KIND_DESTROY)
		o.Replica = a.Replicas[0].ID
		return job{"destroy", func(ctx context.Context) error { return d.destroy(ctx, s, a.Replicas[0], o) }}
	}
}

func nodeOf(o *nodev1.ObservedShard) string {
	for _, r := range o.GetReplicas() {
		if r.Id == o.Leader {
			return r.Node
		}
	}
	return ""
}

// add makes replicas and then, in one change, learners of them.
func (d *Driver) add(ctx context.Context, leader string, replicas []plan.Replica, order func(nodev1.OrderKind) *nodev1.Order) error {
	change := order(nodev1.OrderKind_ORDER_KIND_CONFIGURE)
	var errs []error
	for _, r := range replicas {
		o := order(nodev1.OrderKind_ORDER_KIND_MAKE)
		o.Replica = r.ID
		if err := d.options.Cluster.Order(ctx, r.Node, o); err != nil {
			errs = append(errs, err)
			continue
		}
		change.Changes = append(change.Changes, &nodev1.ConfChange{Kind: uint32(shard.AddLearner), Replica: r.ID, Node: r.Node})
	}
	if len(change.Changes) > 0 {
		errs = append(errs, d.options.Cluster.Order(ctx, leader, change))
	}
	return errors.Join(errs...)
}

// destroy drops a replica, and then its row.
func (d *Driver) destroy(ctx context.Context, s *plan.Shard, gone plan.Replica, o *nodev1.Order) error {
	if err := d.options.Cluster.Order(ctx, gone.Node, o); err != nil {
		return err
	}
	rows := slices.DeleteFunc(slices.Clone(s.Rows), func(r plan.Replica) bool { return r.ID == gone.ID })
	return d.place(ctx, rowOf(s, rows))
}

// farewells end the membership of stores that hold nothing any more.
func (d *Driver) farewells(p *Picture) (jobs []job) {
	holding := map[string]bool{}
	for _, m := range p.Maps {
		for _, r := range m.Replicas {
			holding[r.Node] = true
		}
	}
	for _, s := range p.Members() {
		if s.State == eventv1.StoreState_STORE_STATE_REMOVING && !holding[s.Node] && len(p.Maps) > 0 {
			removed := &nodev1.SetStore{Node: s.Node, State: eventv1.StoreState_STORE_STATE_REMOVED}
			c := command(&nodev1.Command{Body: &nodev1.Command_SetStore{SetStore: removed}})
			jobs = append(jobs, job{"remove", func(ctx context.Context) error { return d.options.Cluster.Place(ctx, c) }})
		}
	}
	return jobs
}
