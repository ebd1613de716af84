package hub

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the hub does.
type metrics struct {
	rooms         prometheus.Gauge
	subscriptions prometheus.Gauge
	paused        prometheus.Gauge
	rendered      prometheus.Counter
	passes        prometheus.Histogram
	passBytes     prometheus.Histogram
	gaps          prometheus.Counter
	resets        prometheus.Counter
	catchUps      *prometheus.CounterVec // by source
	dropped       *prometheus.CounterVec // by reason
	untold        prometheus.Counter
	revoked       *prometheus.CounterVec // by reason
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		rooms:         gauge("parley_hub_open_rooms", "Conversations and users this edge listens to."),
		subscriptions: gauge("parley_hub_open_subscriptions", "Subscriptions of connections."),
		paused:        gauge("parley_hub_paused_subscriptions", "Subscriptions that wait for their connection to take the next page."),
		rendered:      counter("parley_hub_rendered_total", "Renderings of an event for a dialect."),
		gaps:          counter("parley_hub_gaps_total", "Events missed on the live path and read from the cluster."),
		resets:        counter("parley_hub_resets_total", "Subscriptions too far behind to catch up."),
		untold:        counter("parley_hub_untold_moves_total", "Sessions of other edges that went on here while too many did for those to be told."),
		passes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_hub_pass_sockets",
			Help: "Sockets written to in one pass of a room.", Buckets: prometheus.ExponentialBuckets(1, 4, 9)}),
		passBytes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_hub_pass_bytes",
			Help: "Bytes written to each socket in one pass of a room.", Buckets: prometheus.ExponentialBuckets(64, 4, 9)}),
		catchUps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_hub_catch_ups_total",
			Help: "Pages of missed events sent, by where they came from."}, []string{"source"}),
		revoked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_hub_revoked_sessions_total",
			Help: "Sessions ended because what gave a right to them is gone: the application, or the key that signed their token."}, []string{"reason"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_hub_dropped_total",
			Help: "Deliveries not used, by reason; dropped events are found again as a gap."}, []string{"reason"}),
	}
	if r == nil {
		return m, nil
	}
	all := []prometheus.Collector{m.rooms, m.subscriptions, m.paused, m.rendered, m.gaps, m.resets, m.passes, m.passBytes, m.catchUps,
		m.dropped, m.untold, m.revoked}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return m, fmt.Errorf("register hub metrics: %w", err)
		}
	}
	return m, nil
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}
