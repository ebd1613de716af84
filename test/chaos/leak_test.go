//go:build chaos && linux

package chaos

import (
	"bufio"
	"cmp"
	"debug/buildinfo"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// vital is something of a node that must not grow while clients and nodes come and go.
type vital struct {
	name  string
	of    func(metrics) float64
	slack float64 // by how much a long run may end above its second quarter, beside a tenth of it
	loose float64 // the same for a short run: pools and caches have only begun to fill
}

// metrics are what a node shows at one moment, by series.
type metrics map[string]float64

const megabyte = 1e6

// acknowledged is the series of all sends that were acknowledged by any node when one was looked at.
const acknowledged = "acknowledged"

// leakMax is by how many bytes, in a long run, a node's heap may grow beside buffers with each send that is
// acknowledged: whatever keeps something of each in a map takes more.
const leakMax = 25

// vitals are what is watched.
func vitals() []vital {
	return []vital{
		{"goroutines", func(m metrics) float64 { return m["go_goroutines"] }, 10, 300},
		{"descriptors", func(m metrics) float64 { return m["process_open_fds"] }, 10, 300},
		{"MB of heap that live, beside buffers with a limit", func(m metrics) float64 { return beside(m) / megabyte }, 5, 150},
	}
}

// beside is what lives in the heap beside buffers.
func beside(m metrics) float64 { return live(m) - buffers(m) }

// live is what lived in the heap when it was collected last: the next collection begins at twice that.
func live(m metrics) float64 { return m["go_memstats_next_gc_bytes"] / 2 }

// buffers are what fills up to a limit of its own and then stays, so that it is no leak
// (docs/operate/memory.md). Pebble's are outside of Go's heap in a binary that was built with C.
func buffers(m metrics) float64 {
	sum := m["parley_shard_tail_bytes"] + m["parley_shard_revisions_bytes"] + m["parley_edge_tokens_bytes"]
	if !builtWithC() {
		sum += m[`parley_persistence_memtable_bytes{pebble="log"}`] + m[`parley_persistence_memtable_bytes{pebble="state"}`] +
			m[`parley_persistence_cache_bytes{pebble="state"}`] // both share one cache
	}
	return sum
}

func builtWithC() bool {
	built, err := buildinfo.ReadFile(binary)
	return err == nil && slices.ContainsFunc(built.Settings, func(s debug.BuildSetting) bool { return s.Key == "CGO_ENABLED" && s.Value == "1" })
}

// TestNothingLeaks lets clients come and go, and one node restart, for a long time, and looks whether
// goroutines, descriptors and memory of the other nodes grow. It takes as many turns as -chaos.rounds says.
func TestNothingLeaks(t *testing.T) {
	turns, each, restart := 6, 5*time.Second, 3
	if *long {
		turns, each, restart = 60, 30*time.Second, 6
	}
	if *rounds > 0 {
		turns = *rounds
	}
	c := newCluster(t, 3, "--shutdown-grace", "20s")
	steady := gather(c, shape{conversations: 10, members: 3, rate: 100}, c.others(nil))
	stay, goes := c.names[:2], c.nodes[c.names[2]]
	eyes := watch{turns: map[string][]metrics{}, collected: map[string][]metrics{}}
	began, gone := time.Now(), 0 // sends of clients that have left
	for n := range turns {
		turn := time.Now()
		w := gather(c, shape{conversations: 5, members: 20, rate: 50}, c.others(nil))
		w.recovered(turn)
		gone += w.check(nil)
		if n%restart == restart-1 {
			c.stop(goes)
			c.start(goes)
			c.ready(goes)
			c.healed(3)
		}
		steady.recovered(time.Now())
		eyes.watch(c, stay, turn.Add(each), func() int { return gone + steady.acked() })
	}
	lasted := time.Since(began).Round(time.Second)
	for _, name := range stay {
		whose := fmt.Sprintf("%s over %s, %d turns", name, lasted, turns)
		for _, v := range vitals() {
			v.judge(t, whose, eyes.turns[name])
		}
		if *long { // a short one sees caches and pools fill
			judgeLeft(t, whose, eyes.collected[name])
		}
		last := eyes.turns[name][turns-1]
		t.Logf("%s at the end: %.1f MB live, of that %.1f MB in buffers", name, live(last)/megabyte, buffers(last)/megabyte)
	}
	steady.check(c.others(nil))
}

// watch is what was seen, by node.
type watch struct {
	turns     map[string][]metrics // at the end of each turn
	collected map[string][]metrics // within a second of each time that the node's heap was collected
}

// watch looks at nodes once a second, and at last at the time until.
func (w *watch) watch(c *cluster, nodes []string, until time.Time, sends func() int) {
	c.t.Helper()
	for last := false; !last; {
		left := time.Until(until)
		last = left < time.Second
		await(c.t, min(left, time.Second))
		for _, name := range nodes {
			now, err := read(c.nodes[name])
			c.must(err)
			now[acknowledged] = float64(sends())
			if seen := w.collected[name]; len(seen) == 0 || live(seen[len(seen)-1]) != live(now) {
				w.collected[name] = append(seen, now)
			}
			if last {
				w.turns[name] = append(w.turns[name], now)
			}
		}
	}
}

// judge fails the test if a vital of a node grew.
func (v vital) judge(t *testing.T, whose string, samples []metrics) {
	t.Helper()
	first, last, grew := v.grew(samples, *long)
	told.add(t, v.name+" of "+whose, fmt.Sprintf("%.4g, then %.4g", first, last), "flat")
	if grew {
		t.Errorf("%s of %s grew from %.4g to %.4g", v.name, whose, first, last)
	}
}

// judgeLeft fails the test if sends left something in the heap of a node.
func judgeLeft(t *testing.T, whose string, samples []metrics) {
	t.Helper()
	if len(samples) < 2 {
		t.Fatalf("the heap was collected %d times", len(samples))
	}
	each, sends := left(samples), samples[len(samples)-1][acknowledged]
	told.add(t, fmt.Sprintf("bytes that each of %.0f sends left in the heap of %s", sends, whose), fmt.Sprintf("%.1f", each), fmt.Sprintf("%d", leakMax))
	if each > leakMax {
		t.Errorf("each send left %.1f bytes in the heap of %s", each, whose)
	}
}

// left is by how many bytes the heap grows beside buffers with each send. What was allocated while a node
// collected counts as living until the next time, which may be megabytes on a busy machine: so the lowest
// of every few samples after the first quarter counts, and of the slopes between those the median.
func left(samples []metrics) float64 {
	const lows = 9
	samples = samples[len(samples)/4:]
	var sends, heap, slopes []float64
	for group := range slices.Chunk(samples, max(1, len(samples)/lows)) {
		low := slices.MinFunc(group, func(a, b metrics) int { return cmp.Compare(beside(a), beside(b)) })
		now, lives := low[acknowledged], beside(low)
		for i, then := range sends {
			slopes = append(slopes, (lives-heap[i])/(now-then))
		}
		sends, heap = append(sends, now), append(heap, lives)
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2]
}

// grew compares the second with the last quarter of a node's samples: the first is warming up.
func (v vital) grew(samples []metrics, long bool) (first, last float64, grew bool) {
	quarter := max(1, len(samples)/4)
	from := min(quarter, len(samples)-1)
	first, last = v.median(samples[from:min(from+quarter, len(samples))]), v.median(samples[len(samples)-quarter:])
	if long {
		return first, last, last > first+first/10+v.slack
	}
	return first, last, last > first+v.loose
}

// median is of samples between which the node was collected at whatever moment suited it.
func (v vital) median(samples []metrics) float64 {
	values := make([]float64, len(samples))
	for i, m := range samples {
		values[i] = v.of(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// read asks a node for its metrics.
func read(n *node) (metrics, error) {
	answer, err := web.Get(n.url + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	m := metrics{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		series, text, _ := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil { // comments are none
			m[series] = value
		}
	}
	if answer.StatusCode != http.StatusOK || m["go_goroutines"] == 0 {
		return nil, fmt.Errorf("%s shows %d metrics, status %d", n.name, len(m), answer.StatusCode)
	}
	return m, lines.Err()
}

// TestALeakOfEachSendIsTold shows that what each send leaves behind is seen, though the heap swings by
// megabytes between two collections.
func TestALeakOfEachSendIsTold(t *testing.T) {
	const turns, sends = 60, 3000 // of a turn
	for _, leaked := range []float64{0, 10, 50, 100} {
		for seed := range uint64(20) {
			swing := rand.New(rand.NewPCG(seed, 0))
			var samples []metrics
			for turn := range turns {
				filled := math.Min(1, float64(turn)/10) * 5 * megabyte // of a cache, in the first minutes
				samples = append(samples, metrics{
					"go_memstats_next_gc_bytes": 2 * (20*megabyte + filled + float64(turn)*sends*leaked + swing.Float64()*3*megabyte),
					acknowledged:                float64(turn) * sends,
				})
			}
			if each := left(samples); (each > leakMax) != (leaked > leakMax) {
				t.Errorf("%.0f bytes of each send, seed %d: %.1f are said to be left", leaked, seed, each)
			}
		}
	}
}

// TestALeakIsTold shows that heap which grows is a leak, unless it is a buffer that fills.
func TestALeakIsTold(t *testing.T) {
	heap := vitals()[2]
	for what, c := range map[string]struct {
		leaked, buffered float64 // in a turn
		grew             bool
	}{
		"nothing":           {0, 0, false},
		"a buffer":          {0, 2 * megabyte, false},
		"kilobytes":         {10_000, 0, false},
		"a leak":            {megabyte, 0, true},
		"a leak and buffer": {megabyte, 2 * megabyte, true},
	} {
		var samples []metrics
		for turn := range 60 {
			buffered, leaked := 1+float64(turn)*c.buffered, float64(turn)*c.leaked
			samples = append(samples, metrics{
				"go_memstats_next_gc_bytes": 2 * (30*megabyte + buffered + leaked), "parley_shard_tail_bytes": buffered,
			})
		}
		if first, last, grew := heap.grew(samples, true); grew != c.grew {
			t.Errorf("%s: %.4g, then %.4g, said to have grown: %t", what, first, last, grew)
		}
	}
}
