package membership

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/internal/telemetry"
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

// strangerEvery is how often a line about one address is written. What comes from there is not ours to
// stop: a node of another cluster knocks several times a second, for as long as it is told to join here.
const strangerEvery = time.Minute

// newLogger gives memberlist, which writes lines that begin with a level, our structured log. Once closed
// says so, all of them are for debugging: sockets that were closed under what still used them are no news.
func newLogger(l *slog.Logger, closed func() bool) *log.Logger {
	return log.New(lines{l, telemetry.NewSeldom(strangerEvery), closed}, "", 0)
}

type lines struct {
	logger    *slog.Logger
	strangers *telemetry.Seldom
	closed    func() bool
}

// Write implements io.Writer.
func (w lines) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "] ")
	if !ok {
		level, rest = "", text
	}
	rest = strings.TrimPrefix(rest, "memberlist: ")
	switch {
	case w.closed():
		w.logger.Debug("gossip", "detail", rest)
	case level == "ERR", level == "ERROR":
		w.say(w.logger.Error, rest)
	case level == "WARN":
		w.say(w.logger.Warn, rest)
	default:
		w.logger.Debug("gossip", "detail", rest)
	}
	return len(line), nil
}

// say writes a line, unless it is about an address of which there was one lately.
func (w lines) say(log func(string, ...any), detail string) {
	attributes := []any{"detail", detail}
	if host := origin(detail); host != "" {
		held, say := w.strangers.Says(host, time.Now())
		if !say {
			return
		}
		if held > 0 {
			attributes = append(attributes, "held_back", held)
		}
	}
	log("gossip", attributes...)
}

// origin is the host that memberlist's lines end with when they are about what came from there.
func origin(detail string) string {
	_, from, ok := strings.Cut(detail, "from=")
	if !ok {
		return ""
	}
	from, _, _ = strings.Cut(from, " ")
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		return from
	}
	return host
}
