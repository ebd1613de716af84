package server

import (
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	open     prometheus.Gauge
	accepted prometheus.Counter

	// mu guards live: the connections that open counts.
	mu   sync.Mutex
	live map[net.Conn]struct{}
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_edge_http_connections",
			Help: "HTTP connections that are open, without those upgraded to WebSockets.",
		}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_edge_http_connections_accepted_total",
			Help: "HTTP connections that were accepted.",
		}),
		live: map[net.Conn]struct{}{},
	}
	for _, c := range []prometheus.Collector{m.open, m.accepted} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// connection is called by net/http at each change of a connection's state. A connection that was
// upgraded is counted out like a closed one.
func (m *metrics) connection(c net.Conn, state http.ConnState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch state {
	case http.StateNew:
		m.accepted.Inc()
		m.live[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(m.live, c)
	default:
		return
	}
	m.open.Set(float64(len(m.live)))
}
