package system

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// nobody is a process that does nothing.
type nobody struct{ actor.Process }

// TestRegistryKeepsNothingOfWhoEnded: a node makes and ends grains for as long as it runs, each under a
// name of its own, and what that leaves behind does not grow.
func TestRegistryKeepsNothingOfWhoEnded(t *testing.T) {
	r := newActorSystem(slog.New(slog.DiscardHandler)).ProcessRegistry
	live := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := live()
	const rounds, at = 1000, 100 // at once
	for round := range rounds {
		var there []*actor.PID
		for i := range at {
			pid, added := r.Add(nobody{}, fmt.Sprintf("grain@%d.%d", round, i))
			if !added {
				t.Fatal("the name was used")
			}
			there = append(there, pid)
		}
		for _, pid := range there {
			if _, ok := r.GetLocal(pid.Id); !ok {
				t.Fatalf("%s is not found", pid.Id)
			}
			r.Remove(pid)
		}
	}
	if grew := live() - before; grew > 1<<20 {
		t.Errorf("%d processes that ended left %d bytes behind", rounds*at, grew)
	}
	runtime.KeepAlive(r)
}

// TestRegistryKnowsItsOwn: the library's own processes are found under their names.
func TestRegistryKnowsItsOwn(t *testing.T) {
	full := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	r := newActorSystem(slog.New(slog.DiscardHandler)).ProcessRegistry
	known := 0
	for _, bucket := range full.ProcessRegistry.LocalPIDs.LocalPIDs {
		bucket.IterCb(func(name string, _ any) {
			known++
			if _, ok := r.GetLocal(name); !ok {
				t.Errorf("%s is not found", name)
			}
		})
	}
	if known == 0 {
		t.Error("the library has no processes of its own")
	}
}
