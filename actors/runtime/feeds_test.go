package runtime

import (
	"testing"
	"time"

	"parley/cluster/directory"
	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// listening is an edge that counts what it is told.
type listening struct{ items, resyncs int }

func (l *listening) Deliver(b *nodev1.FanoutBatch) { l.items += len(b.Items) }
func (l *listening) Resync()                       { l.resyncs++ }

// TestFeedsFindHoles: whatever is missing of a node's feed, the edge is told once.
func TestFeedsFindHoles(t *testing.T) {
	batch := func(node string, life, number uint64) *nodev1.FanoutBatch {
		return &nodev1.FanoutBatch{Node: node, Incarnation: life, Feed: number, Items: []*nodev1.Fanout{{}}}
	}
	beat := func(node string, life, number uint64) *nodev1.FanoutBatch {
		return &nodev1.FanoutBatch{Node: node, Incarnation: life, Feed: number}
	}
	for name, c := range map[string]struct {
		batches []*nodev1.FanoutBatch
		want    listening
	}{
		"whole":                    {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 2), beat("a", 1, 2), batch("a", 1, 3)}, listening{3, 0}},
		"one missing":              {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 3), batch("a", 1, 4)}, listening{3, 1}},
		"the last missing":         {[]*nodev1.FanoutBatch{batch("a", 1, 1), beat("a", 1, 2), beat("a", 1, 2)}, listening{1, 1}},
		"the first missing":        {[]*nodev1.FanoutBatch{batch("a", 1, 2)}, listening{1, 1}},
		"nothing sent yet":         {[]*nodev1.FanoutBatch{beat("a", 1, 0), batch("a", 1, 1)}, listening{1, 0}},
		"a new life":               {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 2, 1)}, listening{2, 0}},
		"a new life with a hole":   {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 2, 2)}, listening{2, 1}},
		"a late batch of an old":   {[]*nodev1.FanoutBatch{batch("a", 2, 1), batch("a", 1, 7), batch("a", 2, 2)}, listening{3, 0}},
		"two nodes":                {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("b", 1, 1), batch("a", 1, 2), batch("b", 1, 2)}, listening{4, 0}},
		"a repeated batch is none": {[]*nodev1.FanoutBatch{batch("a", 1, 1), batch("a", 1, 1), batch("a", 1, 2)}, listening{3, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			edge := &listening{}
			f := newFeeds(edge)
			for _, b := range c.batches {
				f.take(b)
			}
			if *edge != c.want {
				t.Errorf("heard %+v, want %+v", *edge, c.want)
			}
		})
	}
}

// TestSilentNodesAreNoticed: a node that fed this edge and stopped is noticed once.
func TestSilentNodesAreNoticed(t *testing.T) {
	f := newFeeds(&listening{})
	now := time.Unix(1000, 0)
	f.now = func() time.Time { return now }
	f.take(&nodev1.FanoutBatch{Node: "a", Incarnation: 1})
	f.take(&nodev1.FanoutBatch{Node: "self", Incarnation: 1})
	now = now.Add(silentAfter)
	if f.silent("self") {
		t.Error("silent too early")
	}
	now = now.Add(time.Millisecond)
	if !f.silent("self") || f.silent("self") {
		t.Error("not noticed once")
	}
}

// TestNewLeadersAreRegisteredWith: every new epoch of a shard counts once.
func TestNewLeadersAreRegisteredWith(t *testing.T) {
	edge := &listening{}
	f := newFeeds(edge)
	lead := func(node string, epoch shard.Epoch, ready bool) {
		f.led(directory.Lead{Lead: shard.Lead{Shard: 3, Node: node, Epoch: epoch, Ready: ready}})
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
