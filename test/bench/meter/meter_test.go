package meter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// TestProgram: the stores of a program are gone with it, and only JSON goes where JSON is read.
func TestProgram(t *testing.T) {
	for _, asked := range []bool{false, true} {
		p, dir := &Program{json: asked}, ""
		var out strings.Builder
		err := run(p, func() (map[string]int, error) {
			dir = p.Dir
			fmt.Fprintln(p.Out, "measuring")
			return map[string]int{"n": 1}, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)
		}, &out)
		if want := map[bool]string{false: "measuring\n", true: "{\"n\":1}\n"}[asked]; err != nil || out.String() != want {
			t.Errorf("json=%v: %q, %v", asked, out.String(), err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory is left: %v", err)
		}
	}
	p := &Program{Dir: t.TempDir(), json: true}
	failed := errors.New("failed")
	if err := run(p, func() (int, error) { return 0, failed }, io.Discard); err != failed {
		t.Error(err)
	}
	if _, err := os.Stat(p.Dir); err != nil {
		t.Error("a directory that was given is gone")
	}
}
