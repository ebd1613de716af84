package receipt

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what becomes of receipts.
type metrics struct {
	merged   prometheus.Counter
	together prometheus.Histogram
	dropped  *prometheus.CounterVec // by reason
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		merged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_receipt_merged_total", Help: "Receipts that a later one of the same member stood for."}),
		together: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_receipt_batch_receipts", Help: "Receipts of a large conversation that left together.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 6)}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_receipt_dropped_total", Help: "Receipts refused, by reason."}, []string{"reason"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.merged, m.together, m.dropped} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register receipt metrics: %w", err)
		}
	}
	return m, nil
}
