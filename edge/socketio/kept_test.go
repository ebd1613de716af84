package socketio

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// following is what is kept of a session that followed n conversations.
func following(session, n int) kept {
	k := kept{ended: time.Unix(0, 0), positions: make(map[string]uint64, n)}
	for i := range n {
		k.positions[fmt.Sprintf("CON-00000000-0000-4000-%04d-%012d", session%10_000, i)] = uint64(i)
	}
	return k
}

// TestKeptIsBounded: what is kept of disconnected sessions takes no more memory than it may, however many
// there are and however much each followed; and it is about the memory that is counted.
func TestKeptIsBounded(t *testing.T) {
	live := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const size = 4 << 20
	for _, conversations := range []int{0, 1, 20, DefaultOptions().Subscriptions} {
		k, before := newKept(size), live()
		for session := range 3 * 2 * size / (keptBytes + conversations*positionBytes) {
			k.Put(fmt.Sprintf("SES-00000000-0000-4000-8000-%012d", session), following(session, conversations))
		}
		took, said := live()-before, k.Weight()
		if said > 2*size || said < size/2 {
			t.Errorf("%d conversations each: %d bytes of %d are kept", conversations, said, 2*size)
		}
		if ratio := float64(took) / float64(said); ratio < 0.6 || ratio > 1.5 {
			t.Errorf("%d conversations each: %d bytes are said to be kept, and %d are", conversations, said, took)
		} else {
			t.Logf("%d conversations each: %.2f of what is said", conversations, ratio)
		}
		runtime.KeepAlive(k)
	}
}
