package media

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"parley/proto/code"
)

// answer is a ResponseWriter that remembers what was answered.
type answer struct {
	http.ResponseWriter
	status  int
	bytes   int64
	written bool
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
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// protect sets what every answer carries, so that a browser takes it for what it is, and never for
// a page.
func protect(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
}

// allowOrigin lets pages of any origin use the service, and says whether the request was only the
// question whether it may. No credential is ambient (no cookie is one), so any origin may ask.
func allowOrigin(header http.Header, r *http.Request) (preflight bool) {
	header.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", "Retry-After, Allow, ETag, Content-Length")
	}
	if r.Method != http.MethodOptions {
		return false
	}
	header.Add("Vary", "Access-Control-Request-Headers")
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS")
	header.Set("Access-Control-Allow-Headers", allowedHeaders(r.Header.Get("Access-Control-Request-Headers")))
	header.Set("Access-Control-Max-Age", "7200")
	return true
}

// allowedHeaders are those that the service knows, and what the page asks for besides: unknown ones
// are ignored anyway, and some client libraries add their own.
func allowedHeaders(asked string) string {
	const known, most = "authorization, content-type, idempotency-key, if-none-match", 512
	if len(asked) > most || strings.ContainsFunc(asked, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_, ", r)
	}) || strings.TrimSpace(asked) == "" {
		return known
	}
	return known + ", " + strings.ToLower(asked)
}

// problem is an error as the current generation of the API tells it (RFC 7807).
type problem struct {
	Title   string             `json:"title"`
	Type    string             `json:"type"`
	Code    string             `json:"code"`
	Detail  string             `json:"detail"`
	Where   string             `json:"instance"`
	Invalid []invalidParameter `json:"invalid_parameters,omitempty"`
}

type invalidParameter struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

const typePrefix = "https://developer.nexmo.com/api/conversation#"

// refuse answers err. When a picture is half sent there is nothing to answer with any more.
func (h *Handler) refuse(a *answer, c *call, err error) {
	e := h.coded(c, err)
	c.code = e.Code
	status := e.HTTPStatus()
	wait := e.RetryAfter
	if wait == 0 && status == http.StatusServiceUnavailable {
		wait = time.Second
	}
	if wait > 0 {
		a.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	if status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", "Bearer")
	}
	p := problem{Title: http.StatusText(status) + ".", Type: typePrefix + string(e.Code), Code: string(e.Code), Detail: e.Message, Where: c.id}
	for _, f := range e.Fields {
		p.Invalid = append(p.Invalid, invalidParameter{Name: f.Name, Reason: `"` + f.Name + `" ` + f.Reason})
		p.Detail += ` "` + f.Name + `" ` + f.Reason + "."
	}
	h.writeJSON(a, status, p)
}

// coded makes sure that err has a code. What has none is a fault of ours: the cause is logged.
func (h *Handler) coded(c *call, err error) *code.Error {
	if e, ok := code.Of(err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return code.New(code.Unavailable, "The request took too long; try again.")
	}
	h.options.Logger.Error("request failed", "request_id", c.id, "error", err)
	return code.New(code.Internal, "Something went wrong on our side; the log of the node has the details under this instance.")
}

func (h *Handler) writeJSON(a *answer, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		h.options.Logger.Error("encode answer", "error", err)
		status, b = http.StatusInternalServerError, []byte("{}")
	}
	a.Header().Set("Content-Type", "application/json")
	a.WriteHeader(status)
	_, _ = a.Write(append(b, '\n')) // an error here means that the client is gone
}
