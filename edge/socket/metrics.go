package socket

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what happens to connections.
type metrics struct {
	open     prometheus.Gauge
	closed   *prometheus.CounterVec // by reason
	dropped  *prometheus.CounterVec // bytes thrown away, by reason
	blocked  prometheus.Counter
	messages prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_socket_open_connections", Help: "WebSocket connections open now."}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_socket_closed_total", Help: "Connections closed, by who or why."}, []string{"reason"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_socket_dropped_bytes_total", Help: "Bytes that were queued for a peer and not sent, by reason."}, []string{"reason"}),
		blocked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_socket_blocked_total", Help: "Writes that met a full window and were finished by a drain."}),
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_socket_received_messages_total", Help: "Messages read from peers."}),
	}
	// From the start: in a counter that appears with its first events an alert sees no increase.
	m.closed.WithLabelValues(SlowConsumer.String())
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.open, m.closed, m.dropped, m.blocked, m.messages} {
		if err := r.Register(c); err != nil {
			return m, fmt.Errorf("register socket metrics: %w", err)
		}
	}
	return m, nil
}
