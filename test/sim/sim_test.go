package sim

import (
	"flag"
	"testing"

	"parley/test/sim/frame"
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
	var acked, cuts, shown, deeds, slowed, typings int
	last := *from + *seeds
	if frame.Racing && *seeds > 2 {
		last = *from + 2
	}
	for seed := *from; seed < last; seed++ {
		w, err := NewWorld(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for range *crashes {
			runLife(t, w, seed)
		}
		acked, cuts = acked+len(w.history.Sends), cuts+w.crashes
		shown, deeds, slowed, typings = shown+w.shown, deeds+w.deeds, slowed+w.slowed, typings+w.typings
		if err := w.Close(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d power cuts, %d answers, %d deeds, %d events shown, %d typings, %d slow clients", cuts, acked, deeds, shown, typings, slowed)
	if acked < cuts || deeds < cuts || shown < cuts || slowed == 0 || typings == 0 {
		t.Error("the clients hardly ran")
	}
}

// runLife is one life of the node: random turns, sometimes a rest after which everybody must have
// everything, a power cut, and a check of what the next life finds.
func runLife(t *testing.T, w *World, seed uint64) {
	t.Helper()
	for range 1 + w.rng.IntN(2) {
		for range 20 + w.rng.IntN(400) {
			if err := w.Turn(); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, w.crashes, err)
			}
		}
		if w.rng.IntN(2) == 0 {
			check(t, w, seed)
		}
	}
	if err := w.Crash(); err != nil {
		t.Fatalf("seed %d, life %d: %v", seed, w.crashes, err)
	}
	check(t, w, seed)
}

func check(t *testing.T, w *World, seed uint64) {
	t.Helper()
	violations, err := w.Check()
	if err != nil {
		t.Fatalf("seed %d, life %d: %v", seed, w.crashes, err)
	}
	if len(violations) > 0 {
		t.Fatalf("seed %d, life %d: %d violations, first: %v (repeat: go test ./test/sim -sim.seed=%d -sim.seeds=1)",
			seed, w.crashes, len(violations), violations[0], seed)
	}
}

// TestSameSeedSameTrace runs seeds twice: every choice, answer and event shown is the same, so a
// failure can be looked at again.
func TestSameSeedSameTrace(t *testing.T) {
	const runs = 3
	trace := func(seed uint64) uint64 {
		w, err := NewWorld(seed)
		if err != nil {
			t.Fatal(err)
		}
		w.clean = true
		for range 10 {
			runLife(t, w, seed)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return w.Trace()
	}
	different := map[uint64]bool{}
	for seed := *from; seed < *from+runs; seed++ {
		first, second := trace(seed), trace(seed)
		if first != second {
			t.Errorf("seed %d: trace %x, then %x", seed, first, second)
		}
		different[first] = true
	}
	if len(different) != runs {
		t.Errorf("%d traces of %d seeds", len(different), runs)
	}
}
