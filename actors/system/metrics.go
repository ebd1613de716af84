package system

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a request, message or reply was dropped or refused.
const (
	dropGrainFull   = "grain_full" // too many requests wait for one grain
	dropNodeFull    = "node_full"  // too many requests wait on this node
	dropCallsFull   = "calls_full" // too many calls were made on this node
	dropLateReply   = "late_reply" // the call had ended
	dropForbidden   = "forbidden"  // a peer sent a type or to a target outside the closed set
	dropUnheard     = "unheard"    // no receiver of that name
	dropTooLarge    = "too_large"  // a message over MessageSizeMax
	dropPanicked    = "panicked"   // the activation panicked before it answered
	dropUnavailable = "peer_down"  // the peer's address refuses connections
)

type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector

	dropped     *prometheus.CounterVec // by reason
	attempts    *prometheus.CounterVec // by why a further attempt was made
	activations *prometheus.CounterVec // by kind
	ended       *prometheus.CounterVec // activations by why
}

func newMetrics(s *System) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "parley", Subsystem: "actors", Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "parley", Subsystem: "actors", Name: name, Help: help}, f)
	}
	m := &metrics{
		registerer:  s.o.Metrics,
		dropped:     counter("dropped_total", "Requests, messages and replies refused or dropped.", "reason"),
		attempts:    counter("retries_total", "Further attempts of calls.", "reason"),
		activations: counter("activations_total", "Grains activated.", "kind"),
		ended:       counter("ended_total", "Grains ended.", "reason"),
	}
	m.all = []prometheus.Collector{m.dropped, m.attempts, m.activations, m.ended,
		gauge("activations_current", "Grains that live on this node.", func() float64 { return float64(s.inflight.Load()) }),
		gauge("waiting_current", "Requests that wait for an answer of this node.", func() float64 { return float64(s.waiting.Load()) }),
		gauge("calls_current", "Calls of this node that wait for an answer.", func() float64 { return float64(s.caller.table.len()) }),
	}
	var errs []error
	for _, c := range m.all {
		if err := m.registerer.Register(c); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		m.unregister()
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) drop(reason string) { m.dropped.WithLabelValues(reason).Inc() }

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}
