// Package spent checks in tests what a stranger can make this process spend: whatever comes in is
// answered or closed within 50 ms of processor time and 4 MB of memory.
package spent

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

const (
	processorMax = 50 * time.Millisecond
	bytesMax     = 4 << 20
	tries        = 10 // everything else that the process does meanwhile is measured too
)

// Little fails t unless do, carried out at most ten times, once costs little.
func Little(t testing.TB, what string, do func()) {
	t.Helper()
	var processor time.Duration
	var bytes uint64
	for range tries {
		processorBefore, bytesBefore := soFar(t)
		do()
		processorAfter, bytesAfter := soFar(t)
		processor, bytes = processorAfter-processorBefore, bytesAfter-bytesBefore
		if processor <= processorMax*slower && bytes <= bytesMax {
			return
		}
	}
	t.Errorf("%s took %v of processor time and %d bytes", what, processor, bytes)
}

// soFar is what this process has used.
func soFar(t testing.TB) (processor time.Duration, bytes uint64) {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), m.TotalAlloc
}
