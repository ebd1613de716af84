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
	for name, reply := range map[string]*nodev1.InterestReply{
		"a feed that is named": {Incarnation: 1, Generation: 1}, "an earlier build, which names none": {},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			i, edge := inbound(t, func() time.Time { return now })
			holds := i.Registered("b", reply)
			now = now.Add(silentAfter + time.Millisecond)
			if i.Tick(); !holds || !slices.Equal(edge.shards, []keys.Shard{2}) {
				t.Errorf("holds %v, registered again in %v", holds, edge.shards)
			}
			*edge = listening{}
			holds = i.Registered("b", reply)
			i.Deliver(&nodev1.FanoutBatch{Node: "b", Incarnation: 1, Generation: 1, Feed: 1, Items: []*nodev1.Fanout{{}}})
			again := i.Registered("b", reply)
			now = now.Add(silentAfter)
			if i.Tick(); !holds || !again || edge.resyncs != 0 {
				t.Errorf("its first batch counts as a hole, or for nothing: %v, %v, %v", holds, again, edge.shards)
			}
		})
	}
}

// TestAFeedThatAReplyNames: a node that took an interest and forgot this edge before it had fed it once is known
// by the feed that it names, or begins, later. A late reply about the forgotten interest counts for nothing.
func TestAFeedThatAReplyNames(t *testing.T) {
	type feed struct{ incarnation, generation uint64 }
	for name, c := range map[string]struct {
		replies []feed
		batch   feed
		holds   bool // the last reply
		again   int
	}{
		"kept":                      {[]feed{{1, 1}, {1, 1}}, feed{1, 1}, true, 0},
		"forgotten, fed anew":       {[]feed{{1, 1}}, feed{1, 2}, true, 1},
		"forgotten, taken anew":     {[]feed{{1, 1}, {1, 2}}, feed{1, 2}, true, 1},
		"forgotten, told too late":  {[]feed{{1, 2}, {1, 1}}, feed{1, 2}, false, 0},
		"forgotten twice":           {[]feed{{1, 1}, {1, 2}}, feed{1, 3}, true, 2},
		"a new life":                {[]feed{{1, 7}, {2, 1}}, feed{2, 1}, true, 0},
		"a new life, told too late": {[]feed{{2, 1}, {1, 7}}, feed{2, 1}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			i, edge := inbound(t, time.Now)
			holds := false
			for _, r := range c.replies {
				holds = i.Registered("b", &nodev1.InterestReply{Incarnation: r.incarnation, Generation: r.generation})
			}
			i.Deliver(&nodev1.FanoutBatch{Node: "b", Incarnation: c.batch.incarnation, Generation: c.batch.generation,
				Feed: 1, Items: []*nodev1.Fanout{{}}})
			if holds != c.holds || edge.resyncs != c.again || edge.items != 1 {
				t.Errorf("holds %v, registered again %d times in %v, %d items", holds, edge.resyncs, edge.shards, edge.items)
			}
			if got := testutil.ToFloat64(i.holes); got != float64(c.again) {
				t.Errorf("%v holes were counted", got)
			}
		})
	}
}

// TestForgottenBeforeItWasFed: a leader takes an interest of an edge, and forgets it because of a rumour before there
// is anything to send. As soon as another interest makes it feed that edge again, the first is registered anew.
func TestForgottenBeforeItWasFed(t *testing.T) {
	for name, shows := range map[string]func(f *Fanout, take func(*nodev1.Interest)){
		"a batch shows it": func(f *Fanout, _ func(*nodev1.Interest)) {
			f.Interest(other("self"), func(*nodev1.InterestReply) {}) // its reply is still on the way
			f.Broadcast(keys.ShardOf("app", elsewhere, 1), []*nodev1.Fanout{{ApplicationId: "app", Id: elsewhere}})
		},
		"a reply shows it": func(_ *Fanout, take func(*nodev1.Interest)) { take(other("self")) },
	} {
		t.Run(name, func(t *testing.T) {
			i, edge := inbound(t, time.Now)
			i.LeadChanged(shard.Lead{Shard: home, Node: "n1", Epoch: 2, Ready: true})
			*edge = listening{}
			f := newFanout(t, func(o *Options) {
				o.Incarnation = 9
				o.Remote = func(_ string, b *nodev1.FanoutBatch, done func(error)) { i.Deliver(b); done(nil) }
			})
			take := func(wish *nodev1.Interest) {
				f.Interest(wish, func(r *nodev1.InterestReply) {
					if !i.Registered("n1", r) {
						t.Error("an interest is lost on its way")
					}
				})
			}
			take(interest("self", 1, 1))
			f.Forget("self")
			if edge.resyncs != 0 {
				t.Fatalf("registered again in %v before there was a reason", edge.shards)
			}
			if shows(f, take); !slices.Equal(edge.shards, []keys.Shard{home}) {
				t.Errorf("registered again in %v", edge.shards)
			}
		})
	}
}

// elsewhere is another conversation of the same shard.
const elsewhere = "CON-0de7a7b5-0000-4000-8000-000000000003"

func other(edge string) *nodev1.Interest {
	return &nodev1.Interest{Edge: edge, EdgeIncarnation: 1, Version: 2, ApplicationId: "app", Id: elsewhere}
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
