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
	// Resync must not block.
	Resync()
}

// feeds stand between the nodes that feed this edge and the edge. Each node numbers its batches;
// whatever is lost shows as a hole, also the last batch, because idle feeds repeat their number.
type feeds struct {
	edge fanout.Edge
	now  func() time.Time

	mu     sync.Mutex // guards what follows
	from   map[string]*heardFeed
	epochs map[keys.Shard]shard.Epoch
}

// heardFeed is one node's feed as it arrived here.
type heardFeed struct {
	incarnation uint64
	number      uint64
	at          time.Time
}

func newFeeds(edge fanout.Edge) *feeds {
	return &feeds{edge: edge, now: time.Now, from: map[string]*heardFeed{}, epochs: map[keys.Shard]shard.Epoch{}}
}

// Deliver implements fanout.Edge for what comes from this node: nothing can be lost on the way
// but by dropping, which leaves a hole.
func (f *feeds) Deliver(b *nodev1.FanoutBatch) { f.take(b) }

// take hands a batch to the edge, and has it register anew when one is missing before it.
func (f *feeds) take(b *nodev1.FanoutBatch) {
	if f.whole(b) {
		f.resync()
	}
	if len(b.Items) > 0 && f.edge != nil {
		f.edge.Deliver(&nodev1.FanoutBatch{Items: b.Items})
	}
}

// whole notes a batch and says whether one is missing before it.
func (f *feeds) whole(b *nodev1.FanoutBatch) (missing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.from[b.Node]
	if known == nil || known.incarnation < b.Incarnation {
		known = &heardFeed{incarnation: b.Incarnation}
		f.from[b.Node] = known
	}
	if known.incarnation > b.Incarnation {
		return false // of a life that is over
	}
	known.at = f.now()
	expected := known.number
	if len(b.Items) > 0 {
		expected++
	}
	missing = b.Feed > expected
	known.number = max(known.number, b.Feed)
	return missing
}

func (f *feeds) resync() {
	if r, ok := f.edge.(Resyncer); ok {
		r.Resync()
	}
}

// led hears of every change of a lead, under the directory's lock.
func (f *feeds) led(l directory.Lead) {
	if !l.Ready || l.Node == "" {
		return
	}
	f.mu.Lock()
	news := f.epochs[l.Shard] < l.Epoch
	if news {
		f.epochs[l.Shard] = l.Epoch
	}
	f.mu.Unlock()
	if news {
		f.resync()
	}
}

// silent finds nodes that have stopped to feed this edge, each once, and forgets them.
func (f *feeds) silent(self string) (some bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for node, known := range f.from {
		if node != self && f.now().Sub(known.at) > silentAfter {
			delete(f.from, node)
			some = true
		}
	}
	return some
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
		if r.feeds.silent(r.options.NodeName) {
			r.feeds.resync()
		}
	}
}
