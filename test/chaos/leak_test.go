//go:build chaos && linux

package chaos

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// leaks are the metrics that must not grow, and slack is by how much a short run may differ from its
// beginning: a pool that fills, a flush that opens the first tables.
var (
	leaks = []string{"go_goroutines", "process_open_fds", "go_memstats_heap_inuse_bytes"}
	slack = []float64{200, 200, 128 << 20}
)

// TestNothingLeaks lets clients come and go, and nodes restart, for a long time, and looks whether
// goroutines, descriptors and memory of the nodes grow.
func TestNothingLeaks(t *testing.T) {
	lasts, each := 30*time.Second, 5*time.Second
	if *long {
		lasts, each = 30*time.Minute, 30*time.Second
	}
	c := newCluster(t, 3)
	steady := gather(c, shape{conversations: 10, members: 3, rate: 100}, c.others(nil))
	samples := map[string][][]float64{} // by node, then one row for each sample
	turns := 0
	for began := time.Now(); time.Since(began) < lasts; turns++ {
		turn := time.Now()
		w := gather(c, shape{conversations: 5, members: 20, rate: 50}, c.others(nil))
		w.recovered(turn)
		w.check(nil)
		steady.recovered(time.Now())
		await(t, time.Until(turn.Add(each)))
		for _, name := range c.names {
			row, err := sample(c.nodes[name])
			c.must(err)
			samples[name] = append(samples[name], row)
		}
	}
	for i, metric := range leaks {
		for _, name := range c.names {
			first, last := halves(samples[name], i)
			told.add(t, fmt.Sprintf("%s of %s over %s, %d turns", metric, name, lasts, turns),
				fmt.Sprintf("%.4g, then %.4g: %+.1f %%", first, last, 100*(last-first)/first), "flat")
			if last > 2*first+slack[i] {
				t.Errorf("%s of %s grew from %.4g to %.4g", metric, name, first, last)
			}
		}
	}
	steady.check(c.others(nil))
}

// halves gives the mean of the second and of the last quarter of a metric's samples: the first
// quarter is warming up.
func halves(rows [][]float64, metric int) (first, last float64) {
	quarter := max(1, len(rows)/4)
	mean := func(part [][]float64) (m float64) {
		for _, r := range part {
			m += r[metric] / float64(len(part))
		}
		return m
	}
	from := min(quarter, len(rows)-1)
	return mean(rows[from:min(from+quarter, len(rows))]), mean(rows[len(rows)-quarter:])
}

// sample reads the metrics that must not grow.
func sample(n *node) ([]float64, error) {
	answer, err := http.Get(n.url + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	row := make([]float64, len(leaks))
	found := 0
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if i := slices.Index(leaks, name); i >= 0 {
			found++
			if row[i], err = strconv.ParseFloat(value, 64); err != nil {
				return nil, err
			}
		}
	}
	if found != len(leaks) {
		return nil, fmt.Errorf("%s shows %d of the metrics %v", n.name, found, leaks)
	}
	return row, nil
}
