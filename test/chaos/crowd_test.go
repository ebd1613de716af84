//go:build chaos && linux

package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/test/history"
)

// shape is how many clients chat and how.
type shape struct {
	conversations int
	members       int           // clients of each conversation, all connected
	padding       int           // bytes of each event, besides what says where it belongs
	rate          float64       // sends a second, by all members in turn; 0 = nobody sends
	login         time.Duration // how long a client waits until it is logged in and subscribed; 0 = loginWithin
}

// crowd is clients that chat while something happens to the cluster.
type crowd struct {
	t        *testing.T
	cluster  *cluster
	tenant   *tenant
	shape    shape
	chatters []*chatter
	began    time.Time
	ctx      context.Context // ends when the crowd leaves
	cancel   context.CancelFunc
	lives    sync.WaitGroup
	stopPace context.CancelFunc
	pacer    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	timers sync.WaitGroup
	codes  map[string]int // error frames by code
}

// gather makes users and conversations, connects everybody to the given edges in turn, and lets
// them send.
func gather(c *cluster, s shape, edges []string) *crowd {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &crowd{t: c.t, cluster: c, shape: s, began: time.Now(), cancel: cancel, stopPace: func() {}, codes: map[string]int{}}
	c.t.Cleanup(w.leave)
	var err error
	w.tenant, err = newTenant(edges[0])
	c.must(err)
	w.chatters = make([]*chatter, s.conversations*s.members)
	var g errgroup.Group
	const atOnce = 16
	g.SetLimit(atOnce)
	for i := range s.conversations {
		g.Go(func() error { return w.open(i, s.members, edges) })
	}
	c.must(g.Wait())
	for _, m := range w.chatters {
		w.lives.Go(func() { m.run(ctx) })
	}
	w.ctx = ctx
	w.connected()
	if s.rate > 0 {
		w.pace(s.rate)
	}
	return w
}

// open makes one conversation with its members.
func (w *crowd) open(i, members int, edges []string) error {
	at := edges[i%len(edges)]
	var made struct{ ID string }
	if err := w.tenant.post(at, "/v1/conversations", map[string]any{}, &made); err != nil {
		return fmt.Errorf("make a conversation: %w", err)
	}
	for j := range members {
		n := i*members + j
		m := &chatter{crowd: w, user: fmt.Sprintf("user-%d", n), conversation: made.ID, waiting: map[string]*send{}, edges: edges, next: n}
		var err error
		if m.token, err = w.tenant.token(m.user); err != nil {
			return err
		}
		if err := w.tenant.post(at, "/v1/users", map[string]any{"name": m.user}, nil); err != nil {
			return fmt.Errorf("make a user: %w", err)
		}
		err = w.tenant.post(at, "/v1/conversations/"+made.ID+"/members", map[string]any{
			"state": "joined", "user": map[string]any{"name": m.user}, "channel": map[string]any{"type": "app"}}, nil)
		if err != nil {
			return fmt.Errorf("make a member: %w", err)
		}
		w.chatters[n] = m
	}
	return nil
}

// now is the history's clock.
func (w *crowd) now() int64 { return int64(time.Since(w.began)) }

// later runs f after d, unless the crowd has left.
func (w *crowd) later(d time.Duration, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.timers.Add(1)
	time.AfterFunc(d, func() {
		defer w.timers.Done()
		f()
	})
}

func (w *crowd) count(code string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.codes[code]++
}

// counted is how many error frames had a code so far.
func (w *crowd) counted(code string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.codes[code]
}

// pace lets members send in turn, each when it is due, whatever became of the sends before.
func (w *crowd) pace(rate float64) {
	ctx, cancel := context.WithCancel(context.Background())
	w.stopPace = cancel
	w.pacer.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for n := 0; ctx.Err() == nil; <-tick.C {
			for {
				due := began.Add(time.Duration(float64(n) / rate * float64(time.Second)))
				if due.After(time.Now()) {
					break
				}
				w.chatters[n%len(w.chatters)].post(due)
				n++
			}
		}
	})
}

// balance is a load balancer: until the crowd leaves, a client that connects is sent to a node
// whose /readyz says yes.
func (w *crowd) balance() {
	const every = 100 * time.Millisecond
	w.lives.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for w.ctx.Err() == nil {
			var ready []string
			for _, url := range w.cluster.others(nil) {
				if get(url+"/readyz", nil) == nil {
					ready = append(ready, url)
				}
			}
			for _, m := range w.chatters {
				if len(ready) > 0 {
					m.offer(ready)
				}
			}
			<-tick.C
		}
	})
}

// at is how many clients are connected to a node.
func (w *crowd) at(n *node) (count int) {
	for _, m := range w.chatters {
		m.mu.Lock()
		if m.at == n.url {
			count++
		}
		m.mu.Unlock()
	}
	return count
}

// place says where everybody may connect, and waits until everybody does.
func (w *crowd) place(edges []string) {
	w.t.Helper()
	for _, m := range w.chatters {
		m.place(edges)
	}
	w.connected()
}

func (w *crowd) connected() {
	w.t.Helper()
	var away *chatter
	_, ok := within(patience, func() bool {
		i := slices.IndexFunc(w.chatters, func(m *chatter) bool { return !m.connected() })
		if i >= 0 {
			away = w.chatters[i]
		}
		return i < 0
	})
	if !ok {
		away.mu.Lock()
		defer away.mu.Unlock()
		w.t.Fatalf("%s is not connected: %v", away.user, away.parted)
	}
}

// recovered waits until everybody has an ack for something that was due after t, and for all that
// was due before that.
func (w *crowd) recovered(t time.Time) {
	w.t.Helper()
	w.cluster.until("recovery", func() bool {
		return !slices.ContainsFunc(w.chatters, func(m *chatter) bool { return !m.ackedSince(t) })
	})
	now := time.Now()
	w.cluster.until("answers to what was sent before the recovery", func() bool {
		return !slices.ContainsFunc(w.chatters, func(m *chatter) bool { return m.waitsSince(now) })
	})
}

// waits are how long each send that was answered after t had to wait: from when it was due, or
// from t.
func (w *crowd) waits(t time.Time) (all []time.Duration) {
	for _, m := range w.chatters {
		m.mu.Lock()
		for i := len(m.deeds) - 1; i >= 0 && m.deeds[i].acked.After(t); i-- {
			d := m.deeds[i]
			if d.due.Before(t) {
				d.due = t
			}
			all = append(all, d.acked.Sub(d.due))
		}
		m.mu.Unlock()
	}
	return all
}

// slowest tells what became of the send that waited longest of those answered after t.
func (w *crowd) slowest(t time.Time) string {
	var worst deed
	var who *chatter
	for _, m := range w.chatters {
		m.mu.Lock()
		for _, d := range m.deeds {
			if d.acked.After(t) && (who == nil || d.acked.Sub(d.due) > worst.acked.Sub(worst.due)) {
				worst, who = d, m
			}
		}
		m.mu.Unlock()
	}
	if who == nil {
		return "none"
	}
	who.mu.Lock()
	defer who.mu.Unlock()
	story := fmt.Sprintf("%s in %s, due %s after the fault", who.user, who.conversation, worst.due.Sub(t).Round(time.Millisecond))
	for _, s := range who.tries {
		if s.ClientID == worst.id {
			story += fmt.Sprintf("; tried after %s, %s", w.began.Add(time.Duration(s.Began)).Sub(t).Round(time.Millisecond), s.Outcome)
		}
	}
	return story + fmt.Sprintf("; acked after %s; last parted: %v at %s", worst.acked.Sub(t).Round(time.Millisecond), who.parted, who.partedAt.Sub(t).Round(time.Millisecond))
}

// settle ends the sending, waits until every send is answered (S13) and every subscription has
// reached the head (S15), and gives how long the subscriptions took.
func (w *crowd) settle() time.Duration {
	w.t.Helper()
	w.stopPace()
	w.pacer.Wait()
	w.cluster.until("an answer to every send (S13)", func() bool {
		return !slices.ContainsFunc(w.chatters, func(m *chatter) bool { return m.unanswered() > 0 })
	})
	heads := map[string]uint64{}
	for _, m := range w.chatters {
		for _, s := range m.tries {
			heads[m.conversation] = max(heads[m.conversation], s.Sequence)
		}
	}
	return w.cluster.until("every subscription at the head (S15)", func() bool {
		return !slices.ContainsFunc(w.chatters, func(m *chatter) bool { return m.head() < heads[m.conversation] })
	})
}

// check settles, reads everything back from each of the edges, and gives how much was acknowledged.
// Any broken promise fails the test.
func (w *crowd) check(edges []string) int {
	w.t.Helper()
	w.settle()
	w.leave()
	h := history.History{Settled: true}
	var problems []string
	for _, m := range w.chatters {
		h.Sends = append(h.Sends, m.tries...)
		h.Reads = append(h.Reads, history.Read{Conversation: m.conversation, Observer: "the stream of " + m.user, Events: m.stream})
		problems = append(problems, m.problems...)
	}
	read := map[string]bool{}
	for _, m := range w.chatters {
		if read[m.conversation] {
			continue
		}
		read[m.conversation] = true
		for _, e := range edges {
			r, err := w.tenant.readAll(e, m.conversation, m.token)
			w.cluster.must(err)
			h.Reads = append(h.Reads, r)
		}
	}
	for _, p := range problems {
		w.t.Errorf("a client saw: %s", p)
	}
	violations := history.Check(h)
	for _, v := range violations[:min(len(violations), 5)] {
		w.t.Errorf("%d violations: %s", len(violations), v)
	}
	acked := w.acked()
	w.t.Logf("%d acknowledged in %d tries, %d conversations read from %d nodes; error frames %v", acked, len(h.Sends), len(read), len(edges), w.codes)
	return acked
}

// acked is how many sends were acknowledged so far.
func (w *crowd) acked() (n int) {
	for _, m := range w.chatters {
		m.mu.Lock()
		n += len(m.deeds)
		m.mu.Unlock()
	}
	return n
}

// leave disconnects everybody. It may be called twice.
func (w *crowd) leave() {
	w.stopPace()
	w.pacer.Wait()
	w.cancel()
	w.lives.Wait()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.timers.Wait()
}
