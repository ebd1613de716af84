package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// outcome says how a delivery went, for the metrics.
type outcome string

const (
	outcomeDelivered   outcome = "delivered"
	outcomeStatus      outcome = "status"      // answered, but not with 2xx
	outcomeTimeout     outcome = "timeout"     // no answer in time
	outcomeUnreachable outcome = "unreachable" // no connection, or it broke
	outcomeRefused     outcome = "refused"     // the guard does not let it be reached
	outcomeCircuit     outcome = "left_alone"  // its host fails, has not answered yet, or has enough to do
	outcomeUnwanted    outcome = "unwanted"    // the webhook has been taken away
	outcomeGone        outcome = "gone"        // the conversation has been deleted
)

type metrics struct {
	deliveries *prometheus.CounterVec
	seconds    prometheus.Histogram
	age        prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_actors_webhook_deliveries_total", Help: "Attempts to deliver an event to a webhook, by outcome.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_actors_webhook_request_seconds", Help: "Duration of requests to webhooks.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_actors_webhook_age_seconds", Help: "From an event to the end of its delivery.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 12),
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.seconds, m.age} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(o outcome) { m.deliveries.WithLabelValues(string(o)).Inc() }

func (m *metrics) sent(o outcome, took time.Duration) {
	m.count(o)
	m.seconds.Observe(took.Seconds())
}
