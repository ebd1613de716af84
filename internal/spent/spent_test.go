package spent

import (
	"testing"
	"time"
)

// failing notes a failure in place of failing.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Errorf(string, ...any) { f.failed = true }

var kept [][]byte

func TestLittle(t *testing.T) {
	for _, tc := range []struct {
		name string
		much bool
		do   func()
	}{
		{"nothing", false, func() {}},
		{"memory", true, func() { kept = append(kept[:0], make([]byte, bytesMax+1)) }},
		{"processor time", true, func() {
			for before, _ := soFar(t); ; {
				if now, _ := soFar(t); now-before > processorMax*slower+time.Millisecond {
					return
				}
			}
		}},
	} {
		f := &failing{TB: t}
		Little(f, tc.name, tc.do)
		if f.failed != tc.much {
			t.Errorf("%s is much: %v", tc.name, f.failed)
		}
	}
}

// TestOnceIsEnough: what the process does besides does not count if it passes.
func TestOnceIsEnough(t *testing.T) {
	f, calls := &failing{TB: t}, 0
	Little(f, "a noisy beginning", func() {
		if calls++; calls < tries {
			kept = append(kept[:0], make([]byte, bytesMax+1))
		}
	})
	if f.failed || calls != tries {
		t.Errorf("failed %v after %d calls", f.failed, calls)
	}
}
