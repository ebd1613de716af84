package engineio

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what happens to Engine.IO connections.
type metrics struct {
	pollers  prometheus.Gauge
	opened   *prometheus.CounterVec // by version and transport
	closed   *prometheus.CounterVec // polling connections, by reason
	refused  *prometheus.CounterVec // requests, by reason
	upgrades prometheus.Counter
	dropped  prometheus.Counter // bytes
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		pollers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_engineio_open_pollers", Help: "Connections by XHR polling open now."}),
		opened: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_engineio_opened_total", Help: "Connections opened, by protocol version and transport."}, []string{"version", "transport"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_engineio_closed_pollers_total", Help: "Polling connections closed, by reason."}, []string{"reason"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_engineio_refused_total", Help: "Requests refused, by reason."}, []string{"reason"}),
		upgrades: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_engineio_upgrades_total", Help: "Polling connections that went on over a WebSocket."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_engineio_dropped_bytes_total", Help: "Bytes that waited for a poller and were not fetched."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.pollers, m.opened, m.closed, m.refused, m.upgrades, m.dropped} {
		if err := r.Register(c); err != nil {
			return m, fmt.Errorf("register engineio metrics: %w", err)
		}
	}
	return m, nil
}
