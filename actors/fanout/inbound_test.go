package fanout

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// listening is an edge that counts what it is told.
type listening struct {
	items, resyncs int
	shards         []keys.Shard // of all resyncs
}

func (l *listening) Deliver(b *nodev1.FanoutBatch) { l.items += len(b.Items) }
func (l *listening) Resync(shards []keys.Shard) {
	l.resyncs++
	l.shards = append(l.shards, shards...)
}

// inbound makes the receiving end of node self, which knows that a, b and c lead a shard each.
func inbound(t *testing.T, now func() time.Time) (*Inbound, *listening) {
	t.Helper()
	edge := &listening{}
	i, err := NewInbound("self", edge, now, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for s, node := range []string{"a", "b", "c"} {
		i.LeadChanged(shard.Lead{Shard: keys.Shard(s + 1), Node: node, Epoch: 1, Ready: true})
	}
	*edge = listening{}
	return i, edge
}

// TestInboundFindsHoles: whatever is missing of a node's feed, the edge is told once.
func TestInboundFindsHoles(t *testing.T) {
	batch := func(node string, life, number uint64) *nodev1.FanoutBatch {
		return &nodev1.FanoutBatch{Node: node, Incarnation: life, Feed: number, Items: []*nodev1.Fanout{{}}}
	}
	beat := func(node string, life, number uint64) *nodev1.FanoutBatch {
		return &nodev1.FanoutBatch{Node: node, Incarnation: life, Feed: number}
	}
	anew := func(b *nodev1.FanoutBatch) *nodev1.FanoutBatch {
		b.Generation = 2
		return b
	}
	for name, c := range map[string]struct {
		batches []*nodev1.FanoutBatch
		items   int
		again   []keys.Shard
	}{
		"whole":                    {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 2), beat("a", 1, 2), batch("a", 1, 3)}, 3, nil},
		"one missing":              {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 3), batch("a", 1, 4)}, 3, []keys.Shard{1}},
		"the last missing":         {[]*nodev1.FanoutBatch{batch("a", 1, 1), beat("a", 1, 2), beat("a", 1, 2)}, 1, []keys.Shard{1}},
		"the first missing":        {[]*nodev1.FanoutBatch{batch("a", 1, 2)}, 1, []keys.Shard{1}},
		"nothing sent yet":         {[]*nodev1.FanoutBatch{beat("a", 1, 0), batch("a", 1, 1)}, 1, nil},
		"a new life":               {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 2, 1)}, 2, nil},
		"a new life with a hole":   {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 2, 2)}, 2, []keys.Shard{1}},
		"a late batch of an old":   {[]*nodev1.FanoutBatch{batch("a", 2, 1), batch("a", 1, 7), batch("a", 2, 2)}, 3, nil},
		"two nodes":                {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("b", 1, 1), batch("a", 1, 2), batch("b", 1, 2)}, 4, nil},
		"two nodes, one hole":      {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("b", 1, 2), batch("a", 1, 2)}, 3, []keys.Shard{2}},
		"the edge was forgotten":   {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 2), anew(batch("a", 1, 1)), anew(batch("a", 1, 2))}, 4, []keys.Shard{1}},
		"forgotten, and idle":      {[]*nodev1.FanoutBatch{batch("a", 1, 1), anew(beat("a", 1, 0)), anew(batch("a", 1, 1))}, 2, []keys.Shard{1}},
		"late from before":         {[]*nodev1.FanoutBatch{anew(batch("a", 1, 1)), batch("a", 1, 9), anew(batch("a", 1, 2))}, 3, nil},
		"a repeated batch is none": {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 1), batch("a", 1, 2)}, 3, nil},
	} {
		t.Run(name, func(t *testing.T) {
			i, edge := inbound(t, time.Now)
			for _, b := range c.batches {
				i.Deliver(b)
			}
			if edge.items != c.items || !slices.Equal(edge.shards, c.again) {
				t.Errorf("%d items and %v again, want %d and %v", edge.items, edge.shards, c.items, c.again)
			}
			if got := testutil.ToFloat64(i.holes); got != float64(len(c.again)) {
				t.Errorf("%v holes were counted", got)
			}
		})
	}
}

// TestSilentNodesAreNoticed: a node that fed this edge and stopped is noticed once.
func TestSilentNodesAreNoticed(t *testing.T) {
	now := time.Unix(1000, 0)
	i, edge := inbound(t, func() time.Time { return now })
	i.LeadChanged(shard.Lead{Shard: 4, Node: "self", Epoch: 1, Ready: true})
	*edge = listening{}
	i.Deliver(&nodev1.FanoutBatch{Node: "a", Incarnation: 1})
	i.Deliver(&nodev1.FanoutBatch{Node: "self", Incarnation: 1})
	now = now.Add(silentAfter)
	if i.Tick(); edge.resyncs != 0 {
		t.Error("silent too early")
	}
	now = now.Add(time.Millisecond)
	i.Tick()
	if i.Tick(); !slices.Equal(edge.shards, []keys.Shard{1}) {
		t.Errorf("registered again in %v", edge.shards)
	}
}

// TestANodeThatHasNeverFed this edge, but has taken an interest of it, is noticed as well.
func TestANodeThatHasNeverFed(t *testing.T) {
	now := time.Unix(1000, 0)
	i, edge := inbound(t, func() time.Time { return now })
	i.Registered("b")
	now = now.Add(silentAfter + time.Millisecond)
	if i.Tick(); !slices.Equal(edge.shards, []keys.Shard{2}) {
		t.Errorf("registered again in %v", edge.shards)
	}
	*edge = listening{}
	i.Registered("b")
	i.Deliver(&nodev1.FanoutBatch{Node: "b", Incarnation: 1, Feed: 1, Items: []*nodev1.Fanout{{}}})
	now = now.Add(silentAfter)
	if i.Tick(); edge.resyncs != 0 {
		t.Errorf("its first batch counts as a hole, or for nothing: %v", edge.shards)
	}
}

// TestNewLeadersAreRegisteredWith: every new epoch of a shard counts once.
func TestNewLeadersAreRegisteredWith(t *testing.T) {
	i, edge := inbound(t, time.Now)
	lead := func(node string, epoch shard.Epoch, ready bool) {
		i.LeadChanged(shard.Lead{Shard: 3, Node: node, Epoch: epoch, Ready: ready})
	}
	lead("a", 5, false)
	lead("", 5, true)
	lead("a", 5, true)
	lead("a", 5, true) // its address changed
	lead("b", 6, true)
	lead("a", 5, true)
	if edge.resyncs != 2 {
		t.Errorf("%d resyncs", edge.resyncs)
	}
}
