package gate

import (
	"math"
	samples "runtime/metrics"
	"time"
)

// lineMetric is how long goroutines that were ready have waited until they ran (package runtime/metrics).
const lineMetric = "/sched/latencies:seconds"

// line is the line of what is ready for a processor of this process.
type line struct {
	sample [1]samples.Sample
	before []uint64
}

// read gives how long those waited, on average, that stood in the line since the last read.
func (l *line) read() time.Duration {
	l.sample[0].Name = lineMetric
	samples.Read(l.sample[:])
	if l.sample[0].Value.Kind() != samples.KindFloat64Histogram {
		return 0 // this Go does not tell
	}
	h := l.sample[0].Value.Float64Histogram()
	delay := mean(h.Counts, l.before, h.Buckets)
	l.before = append(l.before[:0], h.Counts...)
	return delay
}

// mean is the mean of what was counted since before, nil = since ever; of each bucket as its upper end,
// of the last one, which has none, as its lower.
func mean(now, before []uint64, bounds []float64) time.Duration {
	var count, sum float64
	for i, n := range now {
		if before != nil {
			n -= before[i]
		}
		bound := bounds[i+1]
		if math.IsInf(bound, 1) {
			bound = bounds[i]
		}
		count += float64(n)
		sum += float64(n) * bound
	}
	if count == 0 {
		return 0
	}
	return time.Duration(sum / count * float64(time.Second))
}
