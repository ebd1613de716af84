package grain

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// Metrics counts what all shells of a node do.
type Metrics struct {
	batch    prometheus.Histogram
	answers  *prometheus.CounterVec
	failures *prometheus.CounterVec
	dropped  prometheus.Counter

	done, refused, deposed prometheus.Counter
}

// NewMetrics registers the shells' metrics; a nil registerer counts without showing.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_actors_grain_batch_commands", Help: "Commands decided together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_actors_grain_answers_total", Help: "Commands answered, by outcome.",
		}, []string{"outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_actors_grain_failed_batches_total", Help: "Batches that were not committed, and views that had become old, by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_actors_grain_dropped_commands_total", Help: "Commands refused because too many wait for one entity.",
		}),
	}
	m.done, m.refused = m.answers.WithLabelValues("done"), m.answers.WithLabelValues("error")
	m.deposed = m.answers.WithLabelValues("not_leader")
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.batch, m.answers, m.failures, m.dropped} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) answered(r *nodev1.GrainReply) {
	switch {
	case r.NotLeader:
		m.deposed.Inc()
	case r.Error != nil:
		m.refused.Inc()
	default:
		m.done.Inc()
	}
}

func (m *Metrics) failed(err error) {
	reason := "internal"
	for _, r := range []struct {
		err  error
		name string
	}{
		{shard.ErrUnknown, "unknown"}, {shard.ErrNotLeader, "not_leader"}, {shard.ErrStale, "stale"},
		{shard.ErrOverloaded, "overloaded"}, {shard.ErrTooLarge, "too_large"}, {shard.ErrClosed, "closed"},
		{shard.ErrNoSpace, "no_space"},
	} {
		if errors.Is(err, r.err) {
			reason = r.name
		}
	}
	m.failures.WithLabelValues(reason).Inc()
}
