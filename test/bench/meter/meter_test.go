package meter

import (
	"os"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		sorted []int
		q      float64
		want   int
	}{
		{nil, 0.5, 0},
		{[]int{7}, 0, 7}, {[]int{7}, 0.99, 7}, {[]int{7}, 1, 7},
		{[]int{1, 2}, 0.5, 2}, {[]int{1, 2, 3}, 0.5, 2},
		{[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.9, 10}, {[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.1, 2},
	} {
		if got := Quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile %g of %v is %d, want %d", c.q, c.sorted, got, c.want)
		}
	}
}

func TestMedianLeavesItsInputAlone(t *testing.T) {
	all := []float64{3, 1, 2}
	if got := Median(all); got != 2 || all[0] != 3 {
		t.Errorf("median %g of what is now %v", got, all)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 9 0 100"
	for line, want := range map[string]time.Duration{
		"12 (parley)" + rest:             1750 * time.Millisecond,
		"12 (a (strange) name) )" + rest: 1750 * time.Millisecond,
	} {
		if got, err := parseStat(line); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", line, got, err, want)
		}
	}
	for _, line := range []string{"", "12 (parley) S 1 2", "12 (parley) S 1 2 3 4 5 6 7 8 9 10 many 25"} {
		if got, err := parseStat(line); err == nil {
			t.Errorf("%q gave %v", line, got)
		}
	}
}

func TestParsePSS(t *testing.T) {
	if kb, err := parsePSS("00400000-7fff [rollup]\nRss:  9000 kB\nPss:       4321 kB\nPss_Dirty: 1 kB\n"); err != nil || kb != 4321 {
		t.Errorf("%d, %v", kb, err)
	}
	for _, text := range []string{"", "Rss: 1 kB\n", "Pss: much\n"} {
		if kb, err := parsePSS(text); err == nil {
			t.Errorf("%q gave %d", text, kb)
		}
	}
}

// TestThisProcess reads what the system says of a process that is certainly there.
func TestThisProcess(t *testing.T) {
	before := Self()
	if _, err := CPU(os.Getpid()); err != nil {
		t.Error(err)
	}
	if kb, err := PSS(os.Getpid()); err != nil || kb <= 0 {
		t.Errorf("%d KB, %v", kb, err)
	}
	if Load() == "unknown" {
		t.Error("no load average")
	}
	if Self() < before || before <= 0 {
		t.Errorf("used %v, and %v before", Self(), before)
	}
}
