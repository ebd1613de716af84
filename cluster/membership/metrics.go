package membership

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registerer prometheus.Registerer
	joins      *prometheus.CounterVec
	foreign    prometheus.Counter
	nodes      prometheus.GaugeFunc
}

func newMetrics(m *Members) (*metrics, error) {
	x := &metrics{registerer: m.o.Metrics,
		joins: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "parley", Subsystem: "membership",
			Name: "joins_total", Help: "Attempts to join the gossip, by outcome."}, []string{"outcome"}),
		foreign: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "parley", Subsystem: "membership",
			Name: "foreign_total", Help: "Messages refused because they came from, or told of, a node of another cluster."}),
		nodes: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "parley", Subsystem: "membership",
			Name: "nodes_current", Help: "Nodes in the newest view, this one included."},
			func() float64 { return float64(len(m.view.Load().Nodes)) }),
	}
	if err := errors.Join(x.registerer.Register(x.joins), x.registerer.Register(x.foreign), x.registerer.Register(x.nodes)); err != nil {
		x.unregister()
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return x, nil
}

func (x *metrics) unregister() {
	x.registerer.Unregister(x.joins)
	x.registerer.Unregister(x.foreign)
	x.registerer.Unregister(x.nodes)
}

// newLogger gives memberlist, which writes lines that begin with a level, our structured log.
func newLogger(l *slog.Logger) *log.Logger { return log.New(lines{l}, "", 0) }

type lines struct{ logger *slog.Logger }

// Write implements io.Writer.
func (w lines) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "] ")
	if !ok {
		level, rest = "", text
	}
	rest = strings.TrimPrefix(rest, "memberlist: ")
	switch level {
	case "ERR", "ERROR":
		w.logger.Error("gossip", "detail", rest)
	case "WARN":
		w.logger.Warn("gossip", "detail", rest)
	default:
		w.logger.Debug("gossip", "detail", rest)
	}
	return len(line), nil
}
