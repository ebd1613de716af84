package cluster

import (
	"flag"
	"testing"
	"testing/cryptotest"
	"time"

	"parley/internal/invariant"
)

var (
	seeds = flag.Uint64("sim.seeds", 25, "how many clusters to run")
	from  = flag.Uint64("sim.seed", 1, "the seed of the first")
	lasts = flag.Duration("sim.lasts", 12*time.Second, "for how long, of its own time, faults happen in each")
)

// run is one cluster from its founding to its judgement.
func run(t *testing.T, seed uint64) *World {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	w, err := NewWorld(seed)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if violations := w.Run(*lasts); len(violations) > 0 {
		t.Error(w.Report(seed, violations))
	}
	if err := w.Close(); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	return w
}

// TestClusters runs clusters among faults, each after its seed.
func TestClusters(t *testing.T) {
	count := *seeds
	if invariant.Enabled || testing.Short() {
		count = min(count, 2)
	}
	var crashes, snapshots, posts, shown int
	steps, faults := map[string]int{}, map[string]int{}
	for seed := *from; seed < *from+count; seed++ {
		w := run(t, seed)
		crashes, snapshots, posts, shown = crashes+w.crashes, snapshots+w.snapshots, posts+w.posts, shown+w.shown
		for kind, n := range w.steps {
			steps[kind] += n
		}
		for kind, n := range w.faults {
			faults[kind] += n
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d clusters: %d posts, %d events shown, %d crashes, %d snapshots, steps %v, faults %v", count, posts, shown, crashes, snapshots, steps, faults)
	if count >= 20 && (posts < 20*int(count) || shown < posts || crashes < int(count) || steps["destroy"] == 0) {
		t.Error("the clusters hardly ran")
	}
}

// TestSameSeedSameTrace: a failure can be looked at again.
func TestSameSeedSameTrace(t *testing.T) {
	traces := map[uint64]bool{}
	for seed := *from; seed < *from+2; seed++ {
		first, second := run(t, seed).Trace(), run(t, seed).Trace()
		if first != second {
			t.Errorf("seed %d: trace %x, then %x", seed, first, second)
		}
		traces[first] = true
	}
	if len(traces) != 2 {
		t.Error("two seeds have the same trace")
	}
}
