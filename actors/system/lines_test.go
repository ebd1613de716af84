package system

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestCallsKeepTheirOrder: commands of one goroutine to one identity arrive in the order of the calls, also
// those that found no way, and those that come when there is one again. One whose caller goes away is passed by.
func TestCallsKeepTheirOrder(t *testing.T) {
	cutOff := func(nodes []*node) (admit func()) {
		lead(nodes, 1, 1)
		p, addr := nodes[0].peers, nodes[1].Addr()
		refuse(p, addr)
		return func() { p.connected(addr) }
	}
	leaderless := func(nodes []*node) (elect func()) { return func() { lead(nodes, 1, 1) } }
	for name, story := range map[string]struct {
		from  int
		begin func([]*node) func()
	}{"no way to the leader": {0, cutOff}, "no leader": {0, leaderless}, "no leader, then here": {1, leaderless}} {
		t.Run(name, func(t *testing.T) {
			st := newStage()
			var mu sync.Mutex
			var got []string
			st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
				mu.Lock()
				got = append(got, req.Command.ClientId)
				mu.Unlock()
				respond(a.reply())
			}
			nodes := openNodes(t, st, func(o *Options) { o.AttemptTimeout = time.Hour })
			end := story.begin(nodes)
			var want []string
			var group sync.WaitGroup
			say := func(ctx context.Context, check func(error)) {
				group.Add(1)
				nodes[story.from].Caller().AskAsync(ctx, post("CON-1", strconv.Itoa(len(want))), func(_ *nodev1.GrainReply, err error) {
					check(err)
					group.Done()
				})
			}
			answered := func(err error) {
				if err != nil {
					t.Error(err)
				}
			}
			const calls = 100
			gone, leave := context.WithCancel(t.Context())
			defer leave()
			ended := make(chan error, 1)
			for i := range calls {
				switch i {
				case calls / 4:
					say(gone, func(err error) { ended <- err })
				case calls / 2:
					leave()
					if err := <-ended; !code.Has(err, code.Unavailable) {
						t.Errorf("a call that never left ends with %v", err)
					}
					end()
				}
				say(t.Context(), answered)
				want = append(want, strconv.Itoa(i))
			}
			group.Wait()
			if mu.Lock(); !slices.Equal(got, want) {
				t.Errorf("arrived: %v", got)
			}
			mu.Unlock()
		})
	}
}

// TestAClosedCallerHasNoLines: a call that finds no way when the system is closed already leaves no line behind,
// which the sweeper would look into.
func TestAClosedCallerHasNoLines(t *testing.T) {
	n := openNode(t, "n1", newStage()) // nobody leads
	c := n.Caller()
	c.close() // as Close does, before it ends the sweeper
	if _, err := c.Ask(t.Context(), post("CON-1", "a")); !code.Has(err, code.Unavailable) {
		t.Errorf("a call of a closed caller: %v", err)
	}
	if due := c.lines.due(&review{now: time.Now(), next: time.Now().Add(time.Hour)}); due != nil || c.lines.size.Load() != 0 {
		t.Errorf("%d lines are left, %d of them due", c.lines.size.Load(), len(due))
	}
}
