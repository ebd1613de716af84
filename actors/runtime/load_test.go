package runtime_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"parley/actors/api"
	"parley/actors/runtime"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// ear is an edge that writes down the sequences it hears of each conversation, and how often it was told that
// something may be lost.
type ear struct {
	mu    sync.Mutex // guards heard and lost
	heard map[string][]uint64
	lost  int
	more  chan struct{} // capacity 1: something was heard, or lost
}

func newEar() *ear { return &ear{heard: map[string][]uint64{}, more: make(chan struct{}, 1)} }

func (e *ear) Deliver(b *nodev1.FanoutBatch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range b.Items {
		if s := i.GetEvent().GetEvent().GetSequence(); s != 0 {
			e.heard[i.Id] = append(e.heard[i.Id], s)
		}
	}
	e.wake()
}

// Resync implements fanout.Resyncer.
func (e *ear) Resync([]keys.Shard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost++
	e.wake()
}

func (e *ear) wake() {
	select {
	case e.more <- struct{}{}:
	default:
	}
}

func (e *ear) losses() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lost
}

// await waits until the nth event of a conversation above a head was heard, and gives all above it. It gives
// false when something may have been lost beside the losses that there were before.
func (e *ear) await(t testing.TB, con string, head uint64, n, losses int) (above []uint64, whole bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		e.mu.Lock()
		heard, lost := slices.Clone(e.heard[con]), e.lost
		e.mu.Unlock()
		above = slices.DeleteFunc(heard, func(s uint64) bool { return s <= head })
		if len(above) >= n || lost > losses {
			return above, len(above) >= n
		}
		select {
		case <-e.more:
		case <-late.C:
			t.Fatalf("heard %d of %d", len(above), n)
		}
	}
}

func text(s string) *nodev1.PostEvent {
	return &nodev1.PostEvent{Type: "text", Body: fmt.Appendf(nil, `{"text":%q}`, s)}
}

// TestEdgeHearsEveryEvent: after an answered registration the edge hears every event above the
// head it was told, once and in order, however many post at once.
func TestEdgeHearsEveryEvent(t *testing.T) {
	o := options(t, vfs.NewMem())
	e := newEar()
	o.Edge = e
	r := open(t, o)
	defer closed(t, r)
	a := r.API()
	con, ann := newConversation(t, a, "", "tea"), newUser(t, a, "ann")
	join(t, a, con.Id, ann.Id)
	told, err := a.Interest(t.Context(), &nodev1.Interest{EdgeIncarnation: 1, Version: 1, ApplicationId: app, Id: con.Id})
	if err != nil || told.Head != 1 {
		t.Fatal(told, err)
	}
	var g errgroup.Group
	const senders, each = 8, 25
	for s := range senders {
		g.Go(func() error {
			for i := range each {
				if _, err := a.Post(t.Context(), as(ann), con.Id, fmt.Sprint(s, "-", i), text("hi")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	heard, _ := e.await(t, con.Id, told.Head, senders*each, math.MaxInt) // nothing is lost on one node
	for i, s := range heard {
		if s != told.Head+uint64(i)+1 {
			t.Fatalf("event %d was heard as number %d", s, i+1)
		}
	}
}

// acks are the answers of posts: client id -> sequence, 0 for an unknown outcome.
type acks struct {
	mu      sync.Mutex
	by      map[string]uint64
	unknown int
	done    sync.WaitGroup
}

// post posts without waiting and notes the answer.
func (k *acks) post(t testing.TB, ctx context.Context, a *api.Service, p *nodev1.Principal, con, client string) {
	k.done.Add(1)
	var once atomic.Bool
	a.PostAsync(ctx, p, con, client, text(client), func(r *nodev1.Reply, err error) {
		if !once.CompareAndSwap(false, true) {
			t.Errorf("%s was answered twice", client)
			return
		}
		defer k.done.Done()
		k.mu.Lock()
		defer k.mu.Unlock()
		switch {
		case err == nil:
			k.by[client] = r.Event.Event.Sequence
		case code.Has(err, code.Unknown):
			k.unknown++
		case !code.Has(err, code.Unavailable):
			t.Errorf("%s: %v", client, err)
		}
	})
}

// check reads the whole log: dense, each client id once, every ack where it was promised.
func (k *acks) check(t testing.TB, a *api.Service, p *nodev1.Principal, con string) {
	t.Helper()
	l, err := a.ListEvents(t.Context(), p, con, &nodev1.ListEvents{})
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]uint64{}
	for i, v := range l.Events {
		if v.Event.Sequence != uint64(i+1) {
			t.Fatalf("event %d stands at place %d", v.Event.Sequence, i+1)
		}
		if c := v.Event.ClientId; c != "" {
			if _, twice := at[c]; twice {
				t.Fatalf("%s is stored twice", c)
			}
			at[c] = v.Event.Sequence
		}
	}
	for c, s := range k.by {
		if at[c] != s {
			t.Fatalf("%s was acked as %d and stands at %d", c, s, at[c])
		}
	}
}

// TestCloseUnderLoad closes a node among a thousand posts: each is answered exactly once, and
// after a restart every ack holds.
func TestCloseUnderLoad(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, options(t, fs))
	con, ann := newConversation(t, r.API(), "", "tea"), newUser(t, r.API(), "ann")
	join(t, r.API(), con.Id, ann.Id)
	k := &acks{by: map[string]uint64{}}
	for i := range 1000 {
		k.post(t, t.Context(), r.API(), as(ann), con.Id, fmt.Sprint("c", i))
	}
	closed(t, r)
	k.done.Wait()
	r = open(t, options(t, fs))
	defer closed(t, r)
	k.check(t, r.API(), as(ann), con.Id)
	t.Logf("%d acked, %d unknown", len(k.by), k.unknown)
}

// TestCrashKeepsWhatWasAcked cuts the power at moments of a load: what was acked before is there
// afterwards, at its place, once; and a retry of everything gives the first results.
func TestCrashKeepsWhatWasAcked(t *testing.T) {
	for round := range 5 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			r := open(t, options(t, fs))
			con, ann := newConversation(t, r.API(), "", "tea"), newUser(t, r.API(), "ann")
			join(t, r.API(), con.Id, ann.Id)
			k := &acks{by: map[string]uint64{}}
			for i := range 20 * round {
				s, err := r.API().Post(t.Context(), as(ann), con.Id, fmt.Sprint("c", i), text(fmt.Sprint("c", i)))
				if err != nil {
					t.Fatal(err)
				}
				k.by[fmt.Sprint("c", i)] = s.Event.Event.Sequence
			}
			const posts = 300
			for i := range posts {
				k.post(t, t.Context(), r.API(), as(ann), con.Id, fmt.Sprint("c", i))
			}
			var g errgroup.Group
			g.Go(func() error { // some of the posts are answered before the cut, most are on their way
				_, err := r.API().Post(t.Context(), as(ann), con.Id, "last", text("last"))
				return err
			})
			k.mu.Lock()
			before := map[string]uint64{}
			for c, s := range k.by {
				before[c] = s
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			k.mu.Unlock()
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			k.done.Wait()
			closed(t, r)

			r = open(t, options(t, clone))
			defer closed(t, r)
			(&acks{by: before}).check(t, r.API(), as(ann), con.Id)
			again := &acks{by: map[string]uint64{}}
			for i := range posts {
				again.post(t, t.Context(), r.API(), as(ann), con.Id, fmt.Sprint("c", i))
			}
			again.done.Wait()
			again.check(t, r.API(), as(ann), con.Id)
			for c, s := range before {
				if again.by[c] != s {
					t.Fatalf("%s was acked as %d, and as %d when it was sent again", c, s, again.by[c])
				}
			}
		})
	}
}

// BenchmarkPosts keeps 1,024 posts over 1,000 conversations in flight on a real disk.
func BenchmarkPosts(b *testing.B) {
	o := options(b, vfs.Default)
	o.DataDir, o.Shards = b.TempDir(), 64
	o.Store.LogMemTableBytes, o.Store.StateMemTableBytes, o.Store.CacheBytes = 64<<20, 64<<20, 64<<20
	r, err := runtime.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer closed(b, r)
	if err := r.WaitReady(b.Context()); err != nil {
		b.Fatal(err)
	}
	ann := newUser(b, r.API(), "ann")
	cons := make([]string, 1000)
	var g errgroup.Group
	g.SetLimit(64)
	for i := range cons {
		g.Go(func() error {
			c, _, err := r.API().CreateConversation(b.Context(), admin, "", &eventv1.Conversation{})
			if err != nil {
				return err
			}
			cons[i] = c.Id
			_, err = r.API().AddMember(b.Context(), admin, c.Id, "", api.UserRef{ID: ann.Id}, &nodev1.AddMember{
				Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(`{"type":"app"}`),
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	slots := make(chan struct{}, 1024)
	i := 0
	for b.Loop() {
		i++
		slots <- struct{}{}
		r.API().PostAsync(b.Context(), as(ann), cons[i%len(cons)], fmt.Sprint("c", i), text("hello"), func(_ *nodev1.Reply, err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
}
