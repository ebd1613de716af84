package socket

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// job is a Task that notes its turn; it waits for its gate, if it has one.
type job struct {
	name string
	gate chan struct{}
	log  *turns
}

func (j job) Flush(*Scratch) {
	j.log.note(j.name)
	if j.gate != nil {
		<-j.gate
	}
}

// turns are whose turn it was.
type turns struct {
	mu    sync.Mutex
	more  sync.Cond
	names []string // guarded by mu
}

func newTurns() *turns {
	t := &turns{}
	t.more.L = &t.mu
	return t
}

func (t *turns) note(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names = append(t.names, name)
	t.more.Broadcast()
}

// upTo waits until so many had their turn.
func (t *turns) upTo(n int) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.names) < n {
		t.more.Wait()
	}
	return slices.Clone(t.names)
}

// TestAnswersGoBeforePasses: a commit adds the pass first and then the answer to whoever wrote. With one
// writer the order shows.
func TestAnswersGoBeforePasses(t *testing.T) {
	p, log := NewPump(1), newTurns()
	t.Cleanup(p.Close)
	busy := job{"busy", make(chan struct{}), log}
	p.Add(busy)
	log.upTo(1)
	p.AddPass(job{"pass", nil, log})
	p.Add(job{"answer", nil, log})
	close(busy.gate)
	if got := log.upTo(3); !slices.Equal(got, []string{"busy", "answer", "pass"}) {
		t.Errorf("the turns were %v", got)
	}
}

// TestAPassHasItsTurn however many connections wait.
func TestAPassHasItsTurn(t *testing.T) {
	p, log := NewPump(1), newTurns()
	t.Cleanup(p.Close)
	busy := job{"busy", make(chan struct{}), log}
	p.Add(busy)
	log.upTo(1)
	p.AddPass(job{"pass", nil, log})
	for range 2 * preferredMax {
		p.Add(job{"answer", nil, log})
	}
	close(busy.gate)
	if at := slices.Index(log.upTo(2+2*preferredMax), "pass"); at != 1+preferredMax {
		t.Errorf("the pass had turn %d, not %d", at, 1+preferredMax)
	}
}

// TestOneWriterIsKeptForConnections: passes may take all others, not that one.
func TestOneWriterIsKeptForConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers = 3
		p, log := NewPump(writers), newTurns()
		defer p.Close()
		gate := make(chan struct{})
		for range writers + 1 {
			p.AddPass(job{"pass", gate, log})
		}
		synctest.Wait()
		p.Add(job{"answer", nil, log})
		synctest.Wait()
		if want, got := []string{"pass", "pass", "answer"}, log.upTo(0); !slices.Equal(got, want) {
			t.Errorf("the turns were %v, not %v", got, want)
		}
		close(gate)
		synctest.Wait()
		if n := len(log.upTo(0)); n != writers+2 {
			t.Errorf("%d turns; those who waited were forgotten", n)
		}
	})
}
