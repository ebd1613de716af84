package gate

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics tell how full it is.
type metrics struct {
	limit   prometheus.Gauge
	waiting prometheus.Gauge
	delay   prometheus.Gauge
	waited  *prometheus.HistogramVec // by rank
	refused *prometheus.CounterVec   // by rank
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		limit: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_gate_limit_arrivals",
			Help: "How many upgrades, logins and subscriptions are worked on at once, at most."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_gate_waiting_arrivals",
			Help: "How many of them wait."}),
		delay: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_gate_delay_seconds",
			Help: "How long what was ready waited for a processor, on average: what the limit follows."}),
		waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_gate_waited_seconds",
			Help: "How long those waited that could not come in at once.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"rank"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_gate_refused_total",
			Help: "Arrivals that were sent away, and told when to come back."}, []string{"rank"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.limit, m.waiting, m.delay, m.waited, m.refused} {
		if err := r.Register(c); err != nil {
			return m, fmt.Errorf("register gate metrics: %w", err)
		}
	}
	return m, nil
}

// show tells what a look has led to.
func (m *metrics) show(v *valve, delay time.Duration) {
	m.limit.Set(float64(int(v.limit)))
	m.waiting.Set(float64(v.count))
	m.delay.Set(delay.Seconds())
}
