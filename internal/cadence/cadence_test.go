package cadence

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTicksFallTogether: two tickers that begin at odd moments tick at the same instants, each as
// often as it should.
func TestTicksFallTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pass(17 * time.Millisecond)
		slow := NewTicker(100 * time.Millisecond)
		defer slow.Stop()
		pass(36 * time.Millisecond)
		fast := NewTicker(50 * time.Millisecond)
		defer fast.Stop()

		began := <-slow.C
		<-fast.C // of the same instant, or one before it
		for i := 1; i <= 20; i++ {
			at := <-slow.C
			if want := began.Add(time.Duration(i) * 100 * time.Millisecond); !at.Equal(want) {
				t.Fatalf("tick %d at %v, want %v", i, at.Sub(began), want.Sub(began))
			}
			synctest.Wait()
			if got := <-fast.C; got.Sub(began)%(50*time.Millisecond) != 0 {
				t.Fatalf("the faster ticker ticked %v after the slower one", got.Sub(began))
			}
		}
	})
}

// TestTheFirstTick comes neither at once nor much later than the others: what comes at once may come a hundred
// times before the interval is set.
func TestTheFirstTick(t *testing.T) {
	for nanos := range int64(1000) {
		now := time.Unix(0, 1e18+nanos*int64(time.Millisecond)/3)
		if first := untilNext(now, 100*time.Millisecond); first < 50*time.Millisecond || first > 150*time.Millisecond {
			t.Fatalf("first tick after %v", first)
		}
	}
}

// TestStopBeforeTheFirstTick: nothing ticks after Stop, also when it comes before the phase is set.
func TestStopBeforeTheFirstTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ticker := NewTicker(100 * time.Millisecond)
		ticker.Stop()
		pass(time.Second)
		select {
		case at := <-ticker.C:
			t.Errorf("ticked at %v", at)
		default:
		}
	})
}

// pass lets the bubble's time go on.
func pass(d time.Duration) { <-time.NewTimer(d).C }
