package cluster

import (
	"flag"
	"testing"
	"testing/cryptotest"
	"time"

	"parley/test/history"
	"parley/test/sim/frame"
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
	if frame.Racing || testing.Short() {
		count = min(count, 2)
	}
	var crashes, snapshots, posts, shown, together int
	steps, faults := map[string]int{}, map[string]int{}
	for seed := *from; seed < *from+count; seed++ {
		w := run(t, seed)
		crashes, snapshots, posts, shown, together = crashes+w.crashes, snapshots+w.snapshots, posts+w.posts, shown+w.shown, together+w.together
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
	t.Logf("%d clusters: %d posts, %d events shown, %d receipts taken together, %d crashes, %d snapshots, steps %v, faults %v", count, posts, shown, together, crashes, snapshots, steps, faults)
	if count >= 20 && (posts < 20*int(count) || shown < posts || crashes < int(count) || together == 0 || steps["destroy"] == 0) {
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

// TestTheGravestIsToldFirst: a report begins with what the rest may follow from, and with a rule that has no
// place only when there is no other.
func TestTheGravestIsToldFirst(t *testing.T) {
	for want, rules := range map[string][]string{
		"I4": {"S11", "S7", "I4", "S1"}, "S1": {"S2", "S1"}, "S7": {"L0", "S7", "S11"}, "L0": {"L0", "S11"},
	} {
		violations := make([]history.Violation, len(rules))
		for i, rule := range rules {
			violations[i].Rule = rule
		}
		if got := gravest(violations); got.Rule != want {
			t.Errorf("of %v %s is told first, not %s", rules, got.Rule, want)
		}
	}
}
