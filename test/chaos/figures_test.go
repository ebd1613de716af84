//go:build chaos && linux

package chaos

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// figure is one measured thing, a row of docs/reliability.md.
type figure struct{ scenario, what, value, goal, load string }

// figures are collected over all tests.
type figures struct {
	mu   sync.Mutex // guards rows
	rows []figure
}

// add keeps a figure, with the load of the machine at this moment.
func (f *figures) add(t *testing.T, what, value, goal string) {
	t.Helper()
	load := "?"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	t.Logf("%s: %s (goal %s; load %s)", what, value, goal, load)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = append(f.rows, figure{t.Name(), what, value, goal, load})
}

// print writes the figures and what was left out, and gives 1 if a file could not be written.
func (f *figures) print() int {
	var b strings.Builder
	for _, r := range f.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.scenario, r.what, r.value, r.goal, r.load)
	}
	for _, what := range here.left {
		fmt.Fprintf(&b, "| not available here | %s | | | |\n", what)
	}
	if b.Len() > 0 {
		fmt.Printf("\n| scenario | what | seen | goal | load |\n|---|---|---|---|---|\n%s", b.String())
	}
	if *report == "" {
		return 0
	}
	file, err := os.OpenFile(*report, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = file.WriteString(b.String())
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos: report:", err)
		return 1
	}
	return 0
}

// spread is what is told of many durations.
type spread struct{ p50, p99, max time.Duration }

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	at := func(share float64) time.Duration { return sorted[int(math.Ceil(share*float64(len(sorted))))-1] }
	return spread{at(0.5), at(0.99), sorted[len(sorted)-1]}
}

func (s spread) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("p50 %s, p99 %s, max %s", round(s.p50), round(s.p99), round(s.max))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
