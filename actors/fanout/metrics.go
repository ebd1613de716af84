package fanout

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	batches, items, dropped, lost, refused, unproven prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		batches:  counter("parley_actors_fanout_batches_total", "Batches that left for an edge."),
		items:    counter("parley_actors_fanout_items_total", "Items in those batches."),
		dropped:  counter("parley_actors_fanout_dropped_items_total", "Items dropped because an edge's feed was full; it fetches them as a gap."),
		lost:     counter("parley_actors_fanout_lost_batches_total", "Batches that did not reach their edge."),
		refused:  counter("parley_actors_fanout_refused_interest_total", "Registrations refused because a shard's table is full, or the edge is known to have begun anew."),
		unproven: counter("parley_actors_fanout_unproven_interest_total", "Registrations answered not-leader because the head could not be proven."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.batches, m.items, m.dropped, m.lost, m.refused, m.unproven} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
