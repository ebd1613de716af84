package outbox

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	nodev1 "parley/proto/node/v1"
)

type metrics struct {
	depth                                         prometheus.Gauge
	oldest                                        *prometheus.GaugeVec // by kind of sink
	age                                           prometheus.Histogram
	delivered, retries, refused, deferred, broken prometheus.Counter
	letters, droppedLetters, refusedWrites        prometheus.Counter
}

// sinkName is a kind of sink as a label.
func sinkName(k nodev1.Kind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "KIND_"))
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		depth: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_actors_outbox_held_rows", Help: "Rows in memory that wait for their target.",
		}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_actors_outbox_oldest_seconds", Help: "Age of the oldest row of this kind of sink that was not taken; 0 = none.",
		}, []string{"sink"}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_actors_outbox_age_seconds", Help: "From the commit of a row to its target's ack.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
		delivered: counter("parley_actors_outbox_delivered_rows_total", "Rows acked or refused for good by their target."),
		retries:   counter("parley_actors_outbox_retries_total", "Deliveries that failed and will be tried again."),
		refused:   counter("parley_actors_outbox_refused_rows_total", "Rows that their target refused for good."),
		deferred:  counter("parley_actors_outbox_deferred_rows_total", "Rows left on disk because too many wait in memory."),
		broken:    counter("parley_actors_outbox_broken_queues_total", "Queues stopped because the state could not be read."),
		letters:   counter("parley_actors_outbox_dead_letters_total", "Rows for sinks that were given up and kept as dead letters."),
		droppedLetters: counter("parley_actors_outbox_dropped_letters_total",
			"Dead letters dropped because newer ones of the same application need their place."),
		refusedWrites: counter("parley_actors_outbox_refused_writes_total", "Writes of an outbox that its shard refused for good."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.depth, m.oldest, m.age, m.delivered, m.retries, m.refused, m.deferred, m.broken,
		m.letters, m.droppedLetters, m.refusedWrites,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
