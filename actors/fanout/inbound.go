package fanout

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// BeatEvery is how often Fanout.Beat and Inbound.Tick are called.
const BeatEvery = 500 * time.Millisecond

// silentAfter is how long a node that feeds this edge, or has taken an interest of it, may say nothing.
const silentAfter = 4 * BeatEvery

// Resyncer is an Edge that can register its interests again. It is told when something may have
// been lost: by a hole in a feed, a silent node, a shard with a new leader.
type Resyncer interface {
	Edge
	// Resync is about the interests in what these shards hold. It must not block.
	Resync(shards []keys.Shard)
}

// Inbound stands between the nodes that feed an edge and the edge. Each node numbers its batches;
// whatever is lost shows as a hole, also the last batch, because idle feeds repeat their number. It
// has no goroutine: whoever owns it calls Tick. Safe for concurrent use.
type Inbound struct {
	node  string
	edge  Edge
	now   func() time.Time
	holes prometheus.Counter

	mu    sync.Mutex // guards what follows; never held over a call to the edge
	from  map[string]*heard
	leads map[keys.Shard]knownLead
}

// heard is one node's feed as it arrived here.
type heard struct {
	incarnation uint64
	generation  uint64
	number      uint64
	at          time.Time
}

// knownLead is the newest lead of a shard that the edge was told of.
type knownLead struct {
	epoch shard.Epoch
	node  string
}

// NewInbound makes the receiving end of node for its edge, which is nil when it has none. now is a
// clock that does not jump. Without a registerer holes are counted and not shown.
func NewInbound(node string, edge Edge, now func() time.Time, r prometheus.Registerer) (*Inbound, error) {
	i := &Inbound{
		node: node, edge: edge, now: now, from: map[string]*heard{}, leads: map[keys.Shard]knownLead{},
		holes: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_actors_fanout_feed_holes_total",
			Help: "Times that something was missing in what a node sends to this edge, which then registers again what that node leads."}),
	}
	if r == nil {
		return i, nil
	}
	if err := r.Register(i.holes); err != nil {
		return nil, fmt.Errorf("register fan-out metrics: %w", err)
	}
	return i, nil
}

// Deliver implements Edge: it takes a batch of any node, this one included, and hands it to the
// edge. When one is missing before it, the edge registers anew what that node leads.
func (i *Inbound) Deliver(b *nodev1.FanoutBatch) {
	if i.misses(b) {
		i.holes.Inc()
		i.resync(i.ledBy(b.Node))
	}
	if len(b.Items) > 0 && i.edge != nil {
		i.edge.Deliver(b)
	}
}

// misses notes a batch and says whether something is missing before it: another batch, or the
// interests that a node had when it forgot this edge for a while.
func (i *Inbound) misses(b *nodev1.FanoutBatch) (missing bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	known, met := i.meet(b.Node, b.Incarnation, b.Generation)
	if met == feedOver {
		return false
	}
	known.at = i.now()
	expected := known.number
	if len(b.Items) > 0 {
		expected++
	}
	missing = b.Feed > expected || met == feedAnew
	known.number = max(known.number, b.Feed)
	return missing
}

// meeting is how a feed that shows compares with the one that is known of the node.
type meeting int

const (
	feedKnown meeting = iota // the same, or the first of a life of the node
	feedAnew                 // a later one of the same life: the node forgot this edge, and what it wanted, in between
	feedOver                 // an earlier one
)

// meet notes the feed of which a batch is, or that will serve an interest. Guarded by mu.
func (i *Inbound) meet(node string, incarnation, generation uint64) (*heard, meeting) {
	known := i.from[node]
	switch {
	case known == nil || known.incarnation < incarnation:
		known = &heard{incarnation: incarnation, generation: generation, at: i.now()}
		i.from[node] = known
	case known.incarnation > incarnation || known.generation > generation:
		return known, feedOver
	case known.generation < generation:
		known.generation, known.number, known.at = generation, 0, i.now()
		return known, feedAnew
	}
	return known, feedKnown
}

func (i *Inbound) resync(shards []keys.Shard) {
	if r, ok := i.edge.(Resyncer); ok && len(shards) > 0 {
		r.Resync(shards)
	}
}

// ledBy lists the shards that a node was last known to lead. What it led before has a new leader,
// with whom the edge has registered since.
func (i *Inbound) ledBy(node string) (shards []keys.Shard) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for s, l := range i.leads {
		if l.node == node {
			shards = append(shards, s)
		}
	}
	return shards
}

// LeadChanged hears of every change of a lead, on whichever node: with a new leader the edge
// registers anew. It does not block.
func (i *Inbound) LeadChanged(l shard.Lead) {
	if !l.Ready || l.Node == "" {
		return
	}
	i.mu.Lock()
	news := i.leads[l.Shard].epoch < l.Epoch
	if news {
		i.leads[l.Shard] = knownLead{l.Epoch, l.Node}
	}
	i.mu.Unlock()
	if news {
		i.resync([]keys.Shard{l.Shard})
	}
}

// Registered hears of every interest that a node has taken, before the edge does: the node feeds this edge from
// now on, so that its silence tells. It may have forgotten the edge before it has fed it once, which shows in
// the feed that its reply names. Of a later feed than was known, the interests before this one are lost, and
// the edge registers anew what that node leads; of an earlier one this interest itself is: then it says false.
// What an earlier build says, which names no feed, holds.
func (i *Inbound) Registered(node string, r *nodev1.InterestReply) (holds bool) {
	i.mu.Lock()
	_, met := i.meet(node, r.Incarnation, r.Generation)
	i.mu.Unlock()
	if met == feedAnew {
		i.holes.Inc()
		i.resync(i.ledBy(node))
	}
	return met != feedOver || r.Generation == 0
}

// Tick looks for other nodes that have stopped to feed this edge, each once.
func (i *Inbound) Tick() {
	for _, node := range i.silent() {
		i.resync(i.ledBy(node))
	}
}

// silent finds the nodes that have stopped, and forgets them.
func (i *Inbound) silent() (nodes []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for node, known := range i.from {
		if node != i.node && i.now().Sub(known.at) > silentAfter {
			delete(i.from, node)
			nodes = append(nodes, node)
		}
	}
	return nodes
}
