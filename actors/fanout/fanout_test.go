package fanout

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const conversation = "CON-0de7a7b5-0000-4000-8000-000000000002"

var home = keys.ShardOf("app", conversation, 1)

// ear is an edge that writes down what it hears.
type ear struct {
	mu    sync.Mutex
	feeds []uint64
	heads []uint64
}

func (e *ear) Deliver(b *nodev1.FanoutBatch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.feeds = append(e.feeds, b.Feed)
	for _, i := range b.Items {
		e.heads = append(e.heads, i.Head)
	}
}

func event(sequence uint64) []*nodev1.Fanout {
	return []*nodev1.Fanout{{ApplicationId: "app", Id: conversation, Head: sequence}}
}

func interest(edge string, incarnation, version uint64) *nodev1.Interest {
	return &nodev1.Interest{Edge: edge, EdgeIncarnation: incarnation, Version: version, ApplicationId: "app", Id: conversation}
}

func withdraw(edge string, incarnation, version uint64) *nodev1.Interest {
	i := interest(edge, incarnation, version)
	i.Withdraw = true
	return i
}

func lead(epoch shard.Epoch) shard.Lead {
	return shard.Lead{Shard: home, Node: "n1", Epoch: epoch, Local: true, Ready: true}
}

func newFanout(t rapid.TB, change func(*Options)) *Fanout {
	o := DefaultOptions()
	o.Node, o.Shards = "n1", 1
	o.Head = func(_ keys.Shard, _, _ string, done func(shard.Epoch, uint64, error)) { done(1, 0, nil) }
	change(&o)
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.LeadChanged(lead(1))
	return f
}

// TestNothingAboveTheHeadIsLost: whatever the order of commits, broadcasts, registrations and
// head reads, an edge that was told "head h" hears every event above h, in order.
func TestNothingAboveTheHeadIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var reads []func() // head reads on their way
		committed, told, registered, head := uint64(0), uint64(0), false, uint64(0)
		edge := &ear{}
		f := newFanout(rt, func(o *Options) {
			o.Edge = edge
			o.Head = func(_ keys.Shard, _, _ string, done func(shard.Epoch, uint64, error)) {
				reads = append(reads, func() { done(1, committed, nil) })
			}
		})
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(*rapid.T) { committed++ },
			"broadcast": func(rt *rapid.T) {
				if told == committed {
					rt.Skip()
				}
				told++
				f.Broadcast(home, event(told))
			},
			"register": func(rt *rapid.T) {
				if registered {
					rt.Skip()
				}
				registered = true
				f.Interest(interest("n1", 1, 1), func(r *nodev1.InterestReply) { head = r.Head + 1 })
			},
			"read": func(rt *rapid.T) {
				if len(reads) == 0 {
					rt.Skip()
				}
				reads[0]()
				reads = reads[1:]
			},
		})
		for told < committed {
			told++
			f.Broadcast(home, event(told))
		}
		if head == 0 {
			return // never answered
		}
		for want := head; want <= committed; want++ {
			if !slices.Contains(edge.heads, want) {
				rt.Fatalf("the edge was told %d and has not heard %d of %d: %v", head-1, want, committed, edge.heads)
			}
		}
		if !slices.IsSorted(edge.heads) {
			rt.Fatalf("out of order: %v", edge.heads)
		}
	})
}

// TestOlderInterestIsIgnored: registrations and withdrawals may overtake each other; the one with
// the highest version counts, and a restarted edge counts above all it said before.
func TestOlderInterestIsIgnored(t *testing.T) {
	type say = *nodev1.Interest
	for _, c := range []struct {
		name string
		says []say
		want bool
	}{
		{"registered", []say{interest("n1", 1, 1)}, true},
		{"withdrawn", []say{interest("n1", 1, 1), withdraw("n1", 1, 2)}, false},
		{"withdrawal overtakes", []say{withdraw("n1", 1, 2), interest("n1", 1, 1)}, false},
		{"old withdrawal", []say{interest("n1", 1, 3), withdraw("n1", 1, 2)}, true},
		{"again", []say{interest("n1", 1, 1), withdraw("n1", 1, 2), interest("n1", 1, 3)}, true},
		{"restarted", []say{interest("n1", 1, 9), interest("n1", 2, 1)}, true},
		{"restarted and silent", []say{interest("n1", 1, 9), withdraw("n1", 2, 1)}, false},
		{"before the restart", []say{withdraw("n1", 2, 1), interest("n1", 1, 9)}, false},
		{"another edge", []say{interest("n2", 1, 1)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			edge := &ear{}
			f := newFanout(t, func(o *Options) { o.Edge = edge })
			for _, s := range c.says {
				f.Interest(s, func(*nodev1.InterestReply) {})
			}
			f.Broadcast(home, event(1))
			if got := len(edge.heads) > 0; got != c.want {
				t.Fatalf("heard: %v, want %v", got, c.want)
			}
		})
	}
}

// TestInterestEndsWithTheEpoch: a table belongs to one term; who does not lead says so.
func TestInterestEndsWithTheEpoch(t *testing.T) {
	edge := &ear{}
	epoch := shard.Epoch(1)
	f := newFanout(t, func(o *Options) {
		o.Edge = edge
		o.Head = func(_ keys.Shard, _, _ string, done func(shard.Epoch, uint64, error)) { done(epoch, 7, nil) }
	})
	ask := func() (got *nodev1.InterestReply) {
		f.Interest(interest("n1", 1, 1), func(r *nodev1.InterestReply) { got = r })
		return got
	}
	if r := ask(); r.NotLeader || r.Head != 7 || r.Epoch != 1 {
		t.Fatalf("got %v", r)
	}
	f.LeadChanged(shard.Lead{Shard: home, Epoch: 2})
	if r := ask(); !r.NotLeader {
		t.Fatalf("a follower answers %v", r)
	}
	f.LeadChanged(lead(3))
	f.Broadcast(home, event(1))
	if len(edge.heads) != 0 {
		t.Fatal("the interest of an old epoch is alive")
	}
	if r := ask(); !r.NotLeader {
		t.Fatalf("a head read in epoch 1 was given in epoch 3: %v", r)
	}
	epoch = 3
	if r := ask(); r.NotLeader || r.Epoch != 3 {
		t.Fatalf("got %v", r)
	}
}

// TestFeedBatches: the first item leaves at once, what arrives while it is on its way leaves
// together, within the limits, in order and numbered without a hole.
func TestFeedBatches(t *testing.T) {
	var sent []*nodev1.FanoutBatch
	var arrive []func(error)
	f := newFanout(t, func(o *Options) {
		o.Remote = func(_ string, b *nodev1.FanoutBatch, done func(error)) {
			sent, arrive = append(sent, b), append(arrive, done)
		}
		o.Away.BatchBytes = 3 * event(1)[0].SizeVT()
	})
	f.Interest(interest("n2", 1, 1), func(*nodev1.InterestReply) {})
	for i := range 8 {
		f.Broadcast(home, event(uint64(i+1)))
	}
	for i := 0; i < len(arrive); i++ {
		arrive[i](nil)
	}
	var sizes []int
	for i, b := range sent {
		sizes = append(sizes, len(b.Items))
		if b.Feed != uint64(i+1) {
			t.Fatalf("batch %d has number %d", i+1, b.Feed)
		}
	}
	if !slices.Equal(sizes, []int{1, 3, 3, 1}) {
		t.Fatalf("batches of %v", sizes)
	}
}

// TestAForgottenEdgeIsFedAnew: its feed begins again with number 1, and says that it is another one.
func TestAForgottenEdgeIsFedAnew(t *testing.T) {
	var sent []*nodev1.FanoutBatch
	f := newFanout(t, func(o *Options) {
		o.Remote = func(_ string, b *nodev1.FanoutBatch, done func(error)) {
			sent = append(sent, b)
			done(nil)
		}
	})
	for version := range uint64(2) {
		f.Interest(interest("n2", 1, version+1), func(*nodev1.InterestReply) {})
		f.Broadcast(home, event(version+1))
		f.Forget("n2")
	}
	if len(sent) != 2 || sent[1].Feed != 1 || sent[1].Generation <= sent[0].Generation {
		t.Fatalf("sent %v", sent)
	}
}

// TestWhatIsGoneIsSaid: a registration for what does not exist any more is answered with that.
func TestWhatIsGoneIsSaid(t *testing.T) {
	f := newFanout(t, func(o *Options) {
		o.Head = func(_ keys.Shard, _, _ string, done func(shard.Epoch, uint64, error)) { done(1, 0, ErrGone) }
	})
	f.Interest(interest("n2", 1, 1), func(r *nodev1.InterestReply) {
		if !r.Gone || r.NotLeader || keys.Shard(r.Shard) != home {
			t.Errorf("got %v", r)
		}
	})
}

// TestSlowEdgeDropsAndShowsIt: an edge that does not take its batches costs a bounded number of
// items, and the hole in the numbers tells it to register again. Others are not held back.
func TestSlowEdgeDropsAndShowsIt(t *testing.T) {
	edge := &ear{}
	var numbers []uint64
	var arrive func(error)
	f := newFanout(t, func(o *Options) {
		o.Edge = edge
		o.Away.PendingItems = 10
		o.Remote = func(_ string, b *nodev1.FanoutBatch, done func(error)) {
			numbers, arrive = append(numbers, b.Feed), done
		}
	})
	f.Interest(interest("n1", 1, 1), func(*nodev1.InterestReply) {})
	f.Interest(interest("n2", 1, 1), func(*nodev1.InterestReply) {})
	for i := range 26 { // one flies; 10 wait and are dropped by the next, 10 more likewise; 5 wait
		f.Broadcast(home, event(uint64(i+1)))
	}
	arrive(errors.New("timeout"))
	if !slices.Equal(numbers, []uint64{1, 4}) {
		t.Fatalf("batches %v, want 1 and 4: two drops stand between", numbers)
	}
	if len(edge.heads) != 26 || !slices.IsSorted(edge.heads) {
		t.Fatalf("the local edge heard %v", edge.heads)
	}
}

// TestTableIsBounded: a full table refuses new interest and keeps what it has.
func TestTableIsBounded(t *testing.T) {
	f := newFanout(t, func(o *Options) { o.InterestMax = 3 })
	refused := 0
	for i := range 5 {
		in := interest("n1", 1, uint64(i+1))
		in.Id = fmt.Sprint("CON-", i)
		f.Interest(in, func(r *nodev1.InterestReply) {
			if r.NotLeader {
				refused++
			}
		})
	}
	if refused != 2 {
		t.Fatalf("%d were refused, want 2", refused)
	}
	f.Forget("n1")
	if n := f.tables[home].entries; n != 0 {
		t.Fatalf("%d entries after the edge was forgotten", n)
	}
}

// TestManyMailboxesKeepOrder: broadcasts of many conversations from many goroutines reach the
// local edge one batch at a time, each conversation in its order.
func TestManyMailboxesKeepOrder(t *testing.T) {
	var mu sync.Mutex
	var inside atomic.Bool
	last := map[string]uint64{}
	edge := edgeFunc(func(b *nodev1.FanoutBatch) {
		if !inside.CompareAndSwap(false, true) {
			t.Error("two batches at once")
		}
		defer inside.Store(false)
		mu.Lock()
		defer mu.Unlock()
		for _, i := range b.Items {
			if i.Head != last[i.Id]+1 {
				t.Errorf("%s: %d after %d", i.Id, i.Head, last[i.Id])
			}
			last[i.Id] = i.Head
		}
	})
	f := newFanout(t, func(o *Options) { o.Edge = edge })
	var g errgroup.Group
	for c := range 8 {
		name := fmt.Sprint("CON-", c)
		in := interest("n1", 1, uint64(c+1))
		in.Id = name
		f.Interest(in, func(*nodev1.InterestReply) {})
		g.Go(func() error {
			for s := range 500 {
				f.Broadcast(home, []*nodev1.Fanout{{ApplicationId: "app", Id: name, Head: uint64(s + 1)}})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for c, n := range last {
		if n != 500 {
			t.Errorf("%s: %d of 500 arrived", c, n)
		}
	}
}

type edgeFunc func(*nodev1.FanoutBatch)

func (f edgeFunc) Deliver(b *nodev1.FanoutBatch) { f(b) }

// TestBeat: a feed to another node that stays idle repeats its number, once for each look.
func TestBeat(t *testing.T) {
	var sent []*nodev1.FanoutBatch
	o := DefaultOptions()
	o.Node, o.Shards, o.Incarnation = "n1", 8, 7
	o.Head = func(_ keys.Shard, _, _ string, done func(shard.Epoch, uint64, error)) { done(4, 0, nil) }
	o.Remote = func(_ string, b *nodev1.FanoutBatch, done func(error)) {
		sent = append(sent, b)
		done(nil)
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := keys.ShardOf("app", "CON-1", 8)
	f.LeadChanged(shard.Lead{Shard: s, Node: "n1", Epoch: 4, Local: true, Ready: true})
	f.Interest(&nodev1.Interest{EdgeIncarnation: 1, Version: 1, ApplicationId: "app", Id: "CON-1", Edge: "n2"}, func(*nodev1.InterestReply) {})
	f.Broadcast(s, []*nodev1.Fanout{{ApplicationId: "app", Id: "CON-1"}})
	f.Beat() // not idle: a batch has just left
	f.Beat()
	f.Beat()
	if len(sent) != 3 {
		t.Fatalf("%d batches", len(sent))
	}
	for i, b := range sent {
		if b.Feed != 1 || b.Node != "n1" || b.Incarnation != 7 || (len(b.Items) > 0) != (i == 0) {
			t.Errorf("batch %d: %v", i, b)
		}
	}
}

// TestMissedItemsShow: items that were committed and will not be broadcast leave a hole in the feed
// of every edge that wants something of the shard, which an idle feed shows too.
func TestMissedItemsShow(t *testing.T) {
	var local, away []uint64
	f := newFanout(t, func(o *Options) {
		o.Edge = edgeFunc(func(b *nodev1.FanoutBatch) { local = append(local, b.Feed) })
		o.Remote = func(_ string, b *nodev1.FanoutBatch, done func(error)) {
			away = append(away, b.Feed)
			done(nil)
		}
	})
	f.Interest(interest("n1", 1, 1), func(*nodev1.InterestReply) {})
	f.Interest(interest("n2", 1, 1), func(*nodev1.InterestReply) {})
	f.Broadcast(home, event(1))
	f.Missed(home)
	f.Missed(home + 1) // of no concern here
	f.Beat()
	f.Beat()
	if want := []uint64{1, 2}; !slices.Equal(local, want) || !slices.Equal(away, want) {
		t.Errorf("local %v, away %v, want %v", local, away, want)
	}
}

// TestWithdrawalsAreForgotten: what an edge wanted once is not remembered for ever, but for longer than a
// registration that is overtaken may be on its way.
func TestWithdrawalsAreForgotten(t *testing.T) {
	f := newFanout(t, func(*Options) {})
	beats := func(d time.Duration) {
		for range d / BeatEvery {
			f.Beat()
		}
	}
	say := func(id string, version uint64, withdraw bool) {
		f.Interest(&nodev1.Interest{Edge: "n2", EdgeIncarnation: 1, Version: version, ApplicationId: "app", Id: id, Withdraw: withdraw},
			func(*nodev1.InterestReply) {})
	}
	remembered := func() (n int) {
		for _, e := range f.tables[home].edges {
			n += len(e.withdrawn) + len(e.before)
		}
		return n
	}
	version := uint64(0)
	for round := range 50 {
		for i := range 100 {
			id := fmt.Sprintf("CON-%d-%d", round, i)
			say(id, version+1, false)
			say(id, version+2, true)
			say(id, version+1, false) // overtaken
			version += 2
		}
		beats(withdrawnFor / 2)
		say(fmt.Sprintf("CON-%d-0", round), version-199, false) // late, and still overtaken
		if n := remembered(); n > 500 || n < 100 {
			t.Fatalf("after %d rounds %d withdrawals are remembered", round+1, n)
		}
	}
	if n := len(f.tables[home].wants); n != 0 {
		t.Errorf("%d conversations are wanted by nobody", n)
	}
	beats(2 * withdrawnFor)
	if n := remembered(); n != 0 {
		t.Errorf("%d withdrawals are remembered in the end", n)
	}
}

// TestWithdrawalsAreBounded: as many as there are at once.
func TestWithdrawalsAreBounded(t *testing.T) {
	f := newFanout(t, func(*Options) {})
	for v := range uint64(10 * withdrawnMax) {
		id := fmt.Sprintf("CON-%d", v)
		f.Interest(&nodev1.Interest{Edge: "n2", EdgeIncarnation: 1, Version: 2*v + 1, ApplicationId: "app", Id: id}, func(*nodev1.InterestReply) {})
		f.Interest(&nodev1.Interest{Edge: "n2", EdgeIncarnation: 1, Version: 2*v + 2, ApplicationId: "app", Id: id, Withdraw: true},
			func(*nodev1.InterestReply) {})
	}
	for _, e := range f.tables[home].edges {
		if n := len(e.withdrawn) + len(e.before); n < withdrawnMax || n > 2*withdrawnMax {
			t.Errorf("%d are remembered", n)
		}
	}
}

// TestALifeThatSeemsToBeOver is asked to try again: it may be that of an edge under an old name whose clock is behind.
func TestALifeThatSeemsToBeOver(t *testing.T) {
	f := newFanout(t, func(*Options) {})
	say := func(life uint64) (refused bool) {
		f.Interest(&nodev1.Interest{Edge: "n2", EdgeIncarnation: life, Version: 1, ApplicationId: "app", Id: conversation},
			func(r *nodev1.InterestReply) { refused = r.NotLeader })
		return refused
	}
	if say(5) || !say(3) {
		t.Error("the former life is refused, or the later one is told that all is well")
	}
	f.Forget("n2")
	if say(3) {
		t.Error("the later life is refused although the former is forgotten")
	}
}
