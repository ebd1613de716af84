package hub

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"parley/edge/dialect"
)

// reached is a subscriber that counts with others what it is sent.
type reached struct{ count func() }

func (r *reached) Send([]byte)         {}
func (r *reached) SendNow([]byte)      { r.count() }
func (r *reached) Ended(*Subscription) {}

// TestAPassOfManyPartsLetsOthersRun: on one processor, somebody who is ready runs before it is through with all
// dialects, however few sockets each of them has.
func TestAPassOfManyPartsLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	var others sync.WaitGroup
	var ran atomic.Bool
	sent, sentBefore := 0, 0
	count := func() {
		if sent++; !ran.Load() {
			sentBefore = sent
		}
	}
	var b batch
	for range 4 {
		p := part{bytes: []byte("x")}
		for range stretch - 1 {
			p.to = append(p.to, &Subscription{dialect: dialect.JSON{}, to: &reached{count}})
		}
		b.parts = append(b.parts, p)
	}
	others.Go(func() { ran.Store(true) })
	b.pass(&m)
	others.Wait()
	if sent != 4*(stretch-1) || sentBefore > 2*stretch {
		t.Errorf("%d sockets were written to before anybody else ran, of %d", sentBefore, sent)
	}
}
