package fanout

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// Options are a node's fan-out settings. Start from DefaultOptions.
type Options struct {
	// Node is this node's name: the edge of that name is called directly.
	Node string
	// Incarnation rises with every start of this node: its feeds begin anew with it.
	Incarnation uint64
	// Edge is this node's own edge; nil when it has none.
	Edge Edge
	// Remote sends a batch to the edge of another node; done is called exactly once, from any
	// goroutine, when the batch has arrived or is lost. It must not block. Nil: no other nodes.
	Remote func(edge string, b *nodev1.FanoutBatch, done func(error))
	// Head reads, after a ReadIndex, the last sequence of a conversation, 0 for a user, and the
	// epoch of that ReadIndex. done is called exactly once, from any goroutine; with ErrGone when
	// there is no such conversation or user.
	Head func(s keys.Shard, application, id string, done func(shard.Epoch, uint64, error))
	// Shards is the cluster's number of data shards.
	Shards uint32
	// InterestMax bounds the registrations of one shard.
	InterestMax int
	// Local and Away bound the feed of this node's edge, and of every other one.
	Local, Away Limits

	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production limits, without the dependencies.
func DefaultOptions() Options {
	return Options{
		InterestMax: 1 << 20,
		// The local edge takes pointers: bytes are not counted.
		Local:  Limits{BatchItems: 1024, BatchBytes: 1 << 30, PendingItems: 1 << 16, PendingBytes: 1 << 30},
		Away:   Limits{BatchItems: 1024, BatchBytes: 64 << 10, PendingItems: 1 << 16, PendingBytes: 8 << 20},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Node == "":
		return errors.New("fanout options: node name is empty")
	case o.Head == nil:
		return errors.New("fanout options: Head is needed")
	case o.Shards == 0 || o.InterestMax < 1:
		return errors.New("fanout options: shards and interest limit must be positive")
	}
	return nil
}

// Fanout knows which edges want what of the shards that this node leads, and feeds them. Safe
// for concurrent use.
type Fanout struct {
	options Options
	metrics *metrics

	mu     sync.Mutex // guards all below; never held over a call to an edge
	tables map[keys.Shard]*table
	edges  map[string]*destination
	made   uint64 // destinations so far
	beaten int    // beats since the withdrawals of all tables began a generation
}

// ErrGone is Head's answer for what does not exist, or not any more.
var ErrGone = errors.New("no such conversation or user")

// destination is one edge with its feed.
type destination struct {
	name       string
	generation uint64 // tells the feed from an earlier one to the same edge
	local      bool
	feed       feed
}

// New makes a Fanout that leads nothing yet.
func New(o Options) (*Fanout, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Fanout{options: o, metrics: m, tables: make(map[keys.Shard]*table), edges: make(map[string]*destination)}, nil
}

// LeadChanged follows the leadership of a shard (shard.Observer): a table lives from readiness to
// the end of its epoch.
func (f *Fanout) LeadChanged(l shard.Lead) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tables[l.Shard]
	switch {
	case !l.Local || !l.Ready:
		delete(f.tables, l.Shard)
	case t == nil || t.epoch != l.Epoch:
		f.tables[l.Shard] = newTable(l.Epoch, f.options.InterestMax)
	}
}

// Interest registers or withdraws an edge's wish at the leader of the shard. done is called
// exactly once, perhaps from another goroutine: every event above the reply's head will be sent
// while the epoch lasts. The wish is noted before the head is read, so no event can fall between.
func (f *Fanout) Interest(i *nodev1.Interest, done func(*nodev1.InterestReply)) {
	s := keys.ShardOf(i.ApplicationId, i.Id, f.options.Shards)
	epoch, generation, ok := f.register(s, i)
	if !ok {
		done(&nodev1.InterestReply{NotLeader: true})
		return
	}
	f.options.Head(s, i.ApplicationId, i.Id, func(now shard.Epoch, head uint64, err error) {
		gone := errors.Is(err, ErrGone)
		if err != nil && !gone || now != epoch {
			f.metrics.unproven.Inc()
			done(&nodev1.InterestReply{NotLeader: true})
			return
		}
		done(&nodev1.InterestReply{Epoch: uint64(epoch), Head: head, Gone: gone, Shard: uint32(s),
			Incarnation: f.options.Incarnation, Generation: generation})
	})
}

// register notes a wish; generation is that of the feed that will serve it.
func (f *Fanout) register(s keys.Shard, i *nodev1.Interest) (epoch shard.Epoch, generation uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tables[s]
	if t == nil {
		return 0, 0, false
	}
	d := f.destination(i.Edge)
	if !t.apply(d, i) {
		f.metrics.refused.Inc()
		return 0, 0, false
	}
	return t.epoch, d.generation, true
}

func (f *Fanout) destination(edge string) *destination {
	d := f.edges[edge]
	if d == nil {
		local := edge == f.options.Node
		f.made++
		d = &destination{name: edge, generation: f.made, local: local, feed: feed{limits: f.options.Away}}
		if local {
			d.feed.limits = f.options.Local
		}
		f.edges[edge] = d
	}
	return d
}

// Forget drops an edge that has left the cluster.
func (f *Fanout) Forget(edge string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.edges[edge]; d != nil {
		for _, t := range f.tables {
			t.forget(d)
		}
		delete(f.edges, edge)
	}
}

// Missed says that items of a shard were committed which will not be broadcast: every edge that
// wants something of it sees a hole in its feed, and registers again.
func (f *Fanout) Missed(s keys.Shard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tables[s]; t != nil {
		for d := range t.edges {
			d.feed.skip()
		}
	}
}

// Broadcast sends committed items of one shard to every edge that wants them, in the order of
// the calls for one conversation. It does not block.
func (f *Fanout) Broadcast(s keys.Shard, items []*nodev1.Fanout) {
	var few [4]*destination
	touched := few[:0]
	f.mu.Lock()
	t := f.tables[s]
	if t == nil {
		f.mu.Unlock()
		return
	}
	for _, item := range items {
		for d := range t.wants[key{item.ApplicationId, item.Id}] {
			f.metrics.dropped.Add(float64(d.feed.add(item, d.size(item))))
			touched = appendOnce(touched, d)
		}
	}
	f.mu.Unlock()
	for _, d := range touched {
		f.flush(d)
	}
}

func appendOnce(ds []*destination, d *destination) []*destination {
	for _, known := range ds {
		if known == d {
			return ds
		}
	}
	return append(ds, d)
}

// size is what an item counts in its feed. The local edge takes pointers, so there it is nothing.
func (d *destination) size(item *nodev1.Fanout) int {
	if d.local {
		return 0
	}
	return item.SizeVT()
}

// flush lets leave what may. Whoever finds nothing on its way to the edge sends until nothing
// waits; the others only add to what waits.
func (f *Fanout) flush(d *destination) {
	for {
		f.mu.Lock()
		b := d.feed.next(d.size)
		f.mu.Unlock()
		if b == nil {
			return
		}
		f.metrics.batches.Inc()
		f.metrics.items.Add(float64(len(b.Items)))
		b.Node, b.Incarnation, b.Generation = f.options.Node, f.options.Incarnation, d.generation
		f.send(d, b)
	}
}

func (f *Fanout) send(d *destination, b *nodev1.FanoutBatch) {
	if d.local {
		if f.options.Edge != nil {
			f.options.Edge.Deliver(b)
		}
		f.arrived(d)
		return
	}
	if f.options.Remote == nil {
		f.arrived(d)
		return
	}
	f.options.Remote(d.name, b, func(err error) {
		if err != nil {
			f.metrics.lost.Inc() // the edge sees the hole in the numbers
		}
		f.arrived(d)
		f.flush(d)
	})
}

func (f *Fanout) arrived(d *destination) {
	f.mu.Lock()
	d.feed.arrived()
	f.mu.Unlock()
}

// Beat repeats the last number of each feed that has been idle since the last Beat, so that a last
// batch that was lost is noticed too. Now and then it has the tables forget what they need not know any
// more. It is called every half second and does not block.
func (f *Fanout) Beat() {
	for d, b := range f.beats() {
		switch {
		case !d.local && f.options.Remote != nil:
			f.options.Remote(d.name, b, func(error) {})
		case d.local && f.options.Edge != nil:
			f.options.Edge.Deliver(b)
		}
	}
}

// age begins, when it is time, a new generation of withdrawals in all tables. Guarded by mu.
func (f *Fanout) age() {
	if f.beaten++; time.Duration(f.beaten)*BeatEvery < withdrawnFor {
		return
	}
	f.beaten = 0
	for _, t := range f.tables {
		t.age()
	}
}

func (f *Fanout) beats() map[*destination]*nodev1.FanoutBatch {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.age()
	beats := map[*destination]*nodev1.FanoutBatch{}
	for _, d := range f.edges {
		if d.feed.idle() {
			beats[d] = &nodev1.FanoutBatch{Feed: d.feed.number,
				Node: f.options.Node, Incarnation: f.options.Incarnation, Generation: d.generation}
		}
	}
	return beats
}
