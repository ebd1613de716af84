package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"parley/test/bench/meter"
)

// goal is what a ratio should be.
type goal struct {
	bound    float64
	atMost   bool
	somebody bool // there is one
}

func atLeast(ratio float64) goal { return goal{bound: ratio, somebody: true} }
func atMost(ratio float64) goal  { return goal{bound: ratio, atMost: true, somebody: true} }
func noGoal() goal               { return goal{} }

// verdict compares a ratio with the goal.
func (g goal) verdict(ratio float64) string {
	switch {
	case !g.somebody:
		return ""
	case g.atMost == (ratio <= g.bound) || ratio == g.bound:
		return "met"
	}
	return "missed"
}

func (g goal) String() string {
	switch {
	case !g.somebody:
		return ""
	case g.atMost:
		return fmt.Sprintf("<= %g", g.bound)
	}
	return fmt.Sprintf(">= %g", g.bound)
}

// row is one figure, with a measurement per round.
type row struct {
	name         string
	goal         goal
	ours, theirs []float64
}

// table collects the figures of all rounds.
type table struct {
	rows  []*row
	disks []disk
	loads []string
}

// machine notes what the machine gave at one moment.
func (t *table) machine(d disk) {
	t.disks, t.loads = append(t.disks, d), append(t.loads, meter.Load())
}

// disk is the median of what was noted.
func (t *table) disk() disk {
	var rates, p50s []float64
	for _, d := range t.disks {
		rates, p50s = append(rates, d.perSecond), append(p50s, float64(d.p50))
	}
	return disk{perSecond: meter.Median(rates), p50: time.Duration(meter.Median(p50s))}
}

// add notes a figure beside what it is compared with; 0 = with nothing.
func (t *table) add(name string, ours, theirs float64, g goal) {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.name == name })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, &row{name: name, goal: g})
	}
	r := t.rows[i]
	r.ours, r.theirs = append(r.ours, ours), append(r.theirs, theirs)
}

// print writes the table in Markdown, columns aligned.
func (t *table) print(out io.Writer) error {
	if len(t.rows) == 0 {
		return nil
	}
	d := t.disk()
	host, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		host = []byte("unknown")
	}
	fmt.Fprintf(out, "\n%s, %d CPUs, Linux %s, %s; 4 KiB append+fsync %.0f/s, p50 %v (medians of %d); load average %s to %s\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), strings.TrimSpace(string(host)), runtime.Version(),
		d.perSecond, d.p50, len(t.disks), slices.MinFunc(t.loads, byNumber), slices.MaxFunc(t.loads, byNumber))
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| figure\t| Parley\t| compared with\t| ratio\t| ratios of the rounds\t| goal\t| |")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---|")
	for _, r := range t.rows {
		r.print(w)
	}
	return w.Flush()
}

func (r *row) print(w io.Writer) {
	var ratios []float64
	var all []string
	for i, theirs := range r.theirs {
		if theirs > 0 {
			ratios = append(ratios, r.ours[i]/theirs)
			all = append(all, fmt.Sprintf("%.2f", r.ours[i]/theirs))
		}
	}
	if len(ratios) == 0 {
		fmt.Fprintf(w, "| %s\t| %s\t|\t|\t|\t|\t| |\n", r.name, short(meter.Median(r.ours)))
		return
	}
	ratio := meter.Median(ratios)
	fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %.2f\t| %s\t| %s\t| %s |\n", r.name, short(meter.Median(r.ours)), short(meter.Median(r.theirs)),
		ratio, strings.Join(all, ", "), r.goal, r.goal.verdict(ratio))
}

// short prints a figure with as many digits as mean something.
func short(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func byNumber(a, b string) int {
	x, _ := strconv.ParseFloat(a, 64) // "unknown" counts as nothing
	y, _ := strconv.ParseFloat(b, 64)
	return cmp.Compare(x, y)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
