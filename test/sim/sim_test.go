package sim

import (
	"flag"
	"testing"
)

var (
	seeds   = flag.Uint64("sim.seeds", 20, "how many seeds to run")
	from    = flag.Uint64("sim.seed", 1, "the first seed; with -sim.seeds 1 a failure is repeated")
	crashes = flag.Int("sim.crashes", 50, "power cuts per seed")
)

// TestPowerCuts cuts the power at random moments, a thousand times over all seeds. Nothing that
// was acknowledged may be missing, nothing may be there twice, no sequence may be skipped, and
// nothing that an edge was given may be taken back.
func TestPowerCuts(t *testing.T) {
	acked, cuts := 0, 0
	for seed := *from; seed < *from+*seeds; seed++ {
		w, err := NewWorld(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for range *crashes {
			runLife(t, w, seed)
		}
		acked, cuts = acked+len(w.history.Sends), cuts+w.crashes
		if err := w.Close(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d power cuts, %d answers", cuts, acked)
	if acked < cuts {
		t.Errorf("only %d answers between %d power cuts: the clients hardly ran", acked, cuts)
	}
}

// runLife is one life of the node: a random number of turns, a power cut, and a check of what
// the next life finds.
func runLife(t *testing.T, w *World, seed uint64) {
	t.Helper()
	for range 20 + w.rng.IntN(400) {
		if err := w.Turn(); err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, w.crashes, err)
		}
	}
	if err := w.Crash(); err != nil {
		t.Fatalf("seed %d, life %d: %v", seed, w.crashes, err)
	}
	violations, err := w.Check()
	if err != nil {
		t.Fatalf("seed %d, life %d: %v", seed, w.crashes, err)
	}
	if len(violations) > 0 {
		t.Fatalf("seed %d, life %d: %d violations, first: %v (repeat: go test ./test/sim -sim.seed=%d -sim.seeds=1)",
			seed, w.crashes, len(violations), violations[0], seed)
	}
}
