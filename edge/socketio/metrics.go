package socketio

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the SDKs' connections do.
type metrics struct {
	sessions  *prometheus.GaugeVec   // by generation
	logins    *prometheus.CounterVec // by outcome: the code of a refusal, ok, resumed, moved, again
	requests  *prometheus.CounterVec // by outcome: ok, or the code
	held      prometheus.Counter     // requests that no login came for
	malformed prometheus.Counter
	acks      prometheus.Counter
	dropped   *prometheus.CounterVec // by reason
}

// newMetrics makes them; kept gives the bytes of what is kept of disconnected sessions.
func newMetrics(r prometheus.Registerer, kept func() float64) (metrics, error) {
	m := metrics{
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_socketio_open_sessions", Help: "Sessions logged in now, by generation of their SDK."}, []string{"generation"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_socketio_logins_total", Help: "Logins, by outcome."}, []string{"outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_socketio_requests_total", Help: "Requests answered, by outcome."}, []string{"outcome"}),
		held: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_socketio_requests_before_login_total", Help: "Requests that came before a login, and for which none came."}),
		malformed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_socketio_malformed_total", Help: "Connections closed because of a packet that could not be read."}),
		acks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_socketio_acks_total", Help: "Events acknowledged by clients."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_socketio_dropped_total", Help: "What a session was not given, by reason."}, []string{"reason"}),
	}
	if r == nil {
		return m, nil
	}
	memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_socketio_kept_bytes", Help: "Positions of disconnected sessions kept in memory."}, kept)
	for _, c := range []prometheus.Collector{m.sessions, m.logins, m.requests, m.held, m.malformed, m.acks, m.dropped, memory} {
		if err := r.Register(c); err != nil {
			return m, fmt.Errorf("register socketio metrics: %w", err)
		}
	}
	return m, nil
}
