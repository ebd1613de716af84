package rest

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/proto/code"
)

// answer is a ResponseWriter that remembers what was answered.
type answer struct {
	http.ResponseWriter
	status  int
	bytes   int
	written bool
	code    code.Code // of a refusal
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if !a.written {
		a.status, a.written = status, true
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write implements io.Writer.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(a.status)
	n, err := a.ResponseWriter.Write(b)
	a.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

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
		if !a.written {
			h.refuse(a, c, code.New(code.Internal, "Something went wrong on our side."))
		}
	}
	operation := "none"
	if c.operation != nil {
		operation = c.operation.generation.name + "." + c.operation.id
	}
	took := h.options.Now().Sub(started)
	h.metrics.requests.WithLabelValues(operation, strconv.Itoa(a.status)).Inc()
	h.metrics.seconds.WithLabelValues(operation).Observe(took.Seconds())
	attributes := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", c.request.Method), slog.String("path", c.request.URL.EscapedPath()),
		slog.String("operation", operation), slog.Int("status", a.status), slog.Int("bytes", a.bytes),
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

// protect sets what every answer carries, so that a browser takes it for what it is.
func protect(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
}

const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	corsHeaders = "authorization, content-type, idempotency-key"
	corsExposed = "Retry-After, Allow"
	corsMaxAge  = "7200" // browsers ask again after two hours at most anyway
)

// allowOrigin lets pages of any origin use the API, and says whether the request was only the
// question whether it may. No credential is ambient (no cookie is one), so any origin may ask;
// it is echoed because old clients do not take "*".
func allowOrigin(header http.Header, r *http.Request) (preflight bool) {
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", corsExposed)
	}
	if r.Method != http.MethodOptions {
		return false
	}
	header.Add("Vary", "Access-Control-Request-Headers")
	header.Set("Access-Control-Allow-Methods", corsMethods)
	header.Set("Access-Control-Allow-Headers", corsAllowed(r.Header.Get("Access-Control-Request-Headers")))
	header.Set("Access-Control-Max-Age", corsMaxAge)
	return true
}

// corsAllowed allows the headers of the API and those that the page asks for: unknown ones are
// ignored anyway, and some client libraries add tracing headers.
func corsAllowed(asked string) string {
	const most = 512
	allowed := corsHeaders
	if len(asked) > most {
		return allowed
	}
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && isHeaderName(name) && !strings.Contains(corsHeaders, name) {
			allowed += ", " + name
		}
	}
	return allowed
}

func isHeaderName(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}
