//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// steady is senders at a fixed pace, each at one node until that takes no connection any more; then it
// goes on at the next, as a client behind a load balancer does.
type steady struct {
	crowd *crowd
	stop  chan struct{}
	all   sync.WaitGroup
	moves atomic.Int64 // to another node, because the connection was refused or ended

	mu       sync.Mutex // guards what follows
	took     []time.Duration
	refusals map[string]int // answers that a client sees as errors
}

// begin lets every user send once in the given time.
func begin(w *crowd, every time.Duration) *steady {
	s := &steady{crowd: w, stop: make(chan struct{}), refusals: map[string]int{}}
	for u := range w.users {
		s.all.Go(func() { s.run(u, every) })
	}
	return s
}

func (s *steady) run(u int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	at := u
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
		began := time.Now()
		at = s.send(u, at, fmt.Sprintf("steady-%d", n))
		s.mu.Lock()
		s.took = append(s.took, time.Since(began))
		s.mu.Unlock()
	}
}

// send gives the node at which it went through.
func (s *steady) send(u, at int, clientID string) int {
	for range 200 {
		err := s.crowd.try(s.crowd.users[u], clientID, s.crowd.url(at))
		if err == nil {
			return at
		}
		var refusal *status
		if errors.As(err, &refusal) {
			s.mu.Lock()
			s.refusals[fmt.Sprintf("%d %s", refusal.code, refusal.body)]++
			s.mu.Unlock()
		}
		s.moves.Add(1)
		at++
	}
	return at
}

// end waits for the senders and gives the number of sends and the 99th percentile and longest of them.
func (s *steady) end() (sends int, p99, longest time.Duration) {
	close(s.stop)
	s.all.Wait()
	slices.Sort(s.took)
	return len(s.took), s.took[len(s.took)*99/100], s.took[len(s.took)-1]
}

// TestRollingRestart stops and starts each of three nodes by SIGTERM while clients send 200 times a second:
// no client sees an error, listeners miss and repeat nothing, and every process ends by itself within its grace period.
func TestRollingRestart(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3")
	c.healed(t, "n2", 3)
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["n1"].url), http: &http.Client{Timeout: 10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	w.open(t, 5, 50)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	listeners, wait := w.listen(ctx, t)
	s := begin(w, 250*time.Millisecond)
	for _, n := range c.names {
		old := c.nodes[n]
		began := time.Now()
		if err := old.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		err := old.cmd.Wait()
		t.Logf("%s stopped after %s", n, time.Since(began))
		if err != nil {
			t.Errorf("%s: %v\n%s", n, err, old.output)
		}
		c.run(t, n, c.ports[c.names[0]][1])
		c.await(t, n)
		c.until(t, n+" back, and all voters caught up", func(ctx context.Context) bool {
			st, err := c.status(ctx, n)
			return err == nil && st.UnderReplicated == 0
		})
	}
	sends, p99, longest := s.end()
	t.Logf("%d sends, p99 %s, longest %s, %d times to another node", sends, p99, longest, s.moves.Load())
	if len(s.refusals) > 0 {
		t.Errorf("clients saw errors: %v", s.refusals)
	}
	for _, n := range c.names {
		w.check(t, n)
	}
	heads := map[string]uint64{}
	for _, r := range w.history.Reads {
		heads[r.Conversation] = r.Events[len(r.Events)-1].Sequence
	}
	ends := map[string]int{}
	for i, l := range listeners {
		c.until(t, fmt.Sprintf("listener %d at the head", i), func(context.Context) bool { return l.have() >= heads[l.con] })
	}
	stop()
	wait()
	for i, l := range listeners {
		for _, e := range l.ends {
			ends[e]++
		}
		if len(l.wrong) > 0 {
			t.Errorf("listener %d saw %v", i, l.wrong)
		}
	}
	t.Logf("%d listeners, gapless; their connections ended by %v", len(listeners), ends)
}
