package rest

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/edge/web"
	"parley/proto/code"
)

// answer is a ResponseWriter that remembers what was answered.
type answer struct {
	web.Writer
	code code.Code // of a refusal
}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	panics   prometheus.Counter
	cut      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_http_requests_total",
			Help: "HTTP requests answered, by operation and status.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "parley_edge_http_request_seconds",
			Help:    "Time from the header to the end of the answer, by operation.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_http_refused_total",
			Help: "HTTP requests refused, by error code.",
		}, []string{"code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_edge_http_panics_total",
			Help: "Requests that ended in a panic; each is a bug.",
		}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_edge_http_answers_cut_total",
			Help: "Long answers that broke off because a later part could not be read.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.refused, m.panics, m.cut} {
		if err := r.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}

// finish ends every request: a panic becomes a 500, and one line goes to the access log. The line
// has the path but not the query, no header and no body: those may carry secrets.
func (h *Handler) finish(a *answer, c *call, started time.Time) {
	if cause := recover(); cause == http.ErrAbortHandler {
		defer panic(cause) // the server closes the connection
	} else if cause != nil {
		h.metrics.panics.Inc()
		h.options.Logger.Error("panic", "request_id", c.id, "cause", cause, "stack", string(debug.Stack()))
		if !a.Written {
			h.refuse(a, c, code.New(code.Internal, "Something went wrong on our side."))
		}
	}
	operation := "none"
	if c.operation != nil {
		operation = c.operation.generation.name + "." + c.operation.id
	}
	took := h.options.Now().Sub(started)
	h.metrics.requests.WithLabelValues(operation, strconv.Itoa(a.Status)).Inc()
	h.metrics.seconds.WithLabelValues(operation).Observe(took.Seconds())
	attributes := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", c.request.Method), slog.String("path", c.loggedPath()),
		slog.String("operation", operation), slog.Int("status", a.Status), slog.Int64("bytes", a.Bytes),
		slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("remote", c.request.RemoteAddr),
	}
	if c.who != nil {
		attributes = append(attributes, slog.String("application", c.who.ApplicationId), slog.String("user", c.who.UserId))
	}
	if a.code != "" {
		attributes = append(attributes, slog.String("code", string(a.code)))
		h.metrics.refused.WithLabelValues(string(a.code)).Inc()
	}
	h.options.Logger.LogAttrs(c.request.Context(), slog.LevelInfo, "request", attributes...)
}

// origins are what pages may do.
var origins = web.Origins{
	Methods: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
	Headers: "authorization, content-type, idempotency-key",
	Exposed: "Retry-After, Allow",
}
