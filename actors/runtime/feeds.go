package runtime

import (
	"context"
	"sync"
	"time"

	"parley/actors/fanout"
	"parley/cluster/directory"
	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

const (
	// beatEvery is how often a feed without batches says its last number.
	beatEvery = 500 * time.Millisecond
	// silentAfter is how long a node that has fed this edge may say nothing.
	silentAfter = 2 * time.Second
)

// Resyncer is an edge that can register all its interests again. An edge that is one is told when
// something may have been lost: a hole in a feed, a silent node, a shard with a new leader.
type Resyncer interface {
	// Resync is about the interests in what these shards hold. It must not block.
	Resync(shards []keys.Shard)
}

// feeds stand between the nodes that feed this edge and the edge. Each node numbers its batches;
// whatever is lost shows as a hole, also the last batch, because idle feeds repeat their number.
type feeds struct {
	edge fanout.Edge
	now  func() time.Time

	mu    sync.Mutex // guards what follows
	from  map[string]*heardFeed
	leads map[keys.Shard]knownLead
}

// knownLead is the newest lead of a shard that the edge was told of.
type knownLead struct {
	epoch shard.Epoch
	node  string
}

// heardFeed is one node's feed as it arrived here.
type heardFeed struct {
	incarnation uint64
	generation  uint64
	number      uint64
	at          time.Time
}

func newFeeds(edge fanout.Edge) *feeds {
	return &feeds{edge: edge, now: time.Now, from: map[string]*heardFeed{}, leads: map[keys.Shard]knownLead{}}
}

// Deliver implements fanout.Edge for what comes from this node: nothing can be lost on the way
// but by dropping, which leaves a hole.
func (f *feeds) Deliver(b *nodev1.FanoutBatch) { f.take(b) }

// take hands a batch to the edge. When one is missing before it, the edge registers anew what that
// node leads.
func (f *feeds) take(b *nodev1.FanoutBatch) {
	if f.misses(b) {
		f.resync(f.ledBy(b.Node))
	}
	if len(b.Items) > 0 && f.edge != nil {
		f.edge.Deliver(&nodev1.FanoutBatch{Items: b.Items})
	}
}

// misses notes a batch and says whether something is missing before it: another batch, or the
// interests that a node had when it forgot this edge for a while.
func (f *feeds) misses(b *nodev1.FanoutBatch) (missing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.from[b.Node]
	if known == nil || known.incarnation < b.Incarnation {
		known = &heardFeed{incarnation: b.Incarnation, generation: b.Generation}
		f.from[b.Node] = known
	}
	if known.incarnation > b.Incarnation || known.generation > b.Generation {
		return false // of a life that is over
	}
	known.at = f.now()
	if known.generation < b.Generation {
		known.generation, known.number = b.Generation, b.Feed
		return true
	}
	expected := known.number
	if len(b.Items) > 0 {
		expected++
	}
	missing = b.Feed > expected
	known.number = max(known.number, b.Feed)
	return missing
}

func (f *feeds) resync(shards []keys.Shard) {
	if r, ok := f.edge.(Resyncer); ok && len(shards) > 0 {
		r.Resync(shards)
	}
}

// ledBy lists the shards that a node was last known to lead. What it led before has a new leader,
// with whom the edge has registered since.
func (f *feeds) ledBy(node string) (shards []keys.Shard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s, l := range f.leads {
		if l.node == node {
			shards = append(shards, s)
		}
	}
	return shards
}

// led hears of every change of a lead, under the directory's lock.
func (f *feeds) led(l directory.Lead) {
	if !l.Ready || l.Node == "" {
		return
	}
	f.mu.Lock()
	news := f.leads[l.Shard].epoch < l.Epoch
	if news {
		f.leads[l.Shard] = knownLead{l.Epoch, l.Node}
	}
	f.mu.Unlock()
	if news {
		f.resync([]keys.Shard{l.Shard})
	}
}

// silent finds nodes that have stopped to feed this edge, each once, and forgets them.
func (f *feeds) silent(self string) (nodes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for node, known := range f.from {
		if node != self && f.now().Sub(known.at) > silentAfter {
			delete(f.from, node)
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// beat lets the idle feeds of this node speak, and looks for silence in those to it.
func (r *Runtime) beat(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.fanout.Beat()
		for _, node := range r.feeds.silent(r.options.NodeName) {
			r.feeds.resync(r.feeds.ledBy(node))
		}
	}
}
