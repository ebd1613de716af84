package media

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"parley/actors/blob/image"
	"parley/edge/limit"
	"parley/edge/web"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// root is where images are served.
const root = "/v1/image"

// uploadCost is what an upload takes from the rate of its sender: about what it costs compared
// with other requests.
const uploadCost = 50

// call is one request.
type call struct {
	id        string // names this request in the answer and in the log
	request   *http.Request
	writer    http.ResponseWriter
	operation string // for metrics and log
	who       *nodev1.Principal
	boundary  string // of an upload's form
	code      code.Code
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := web.NewWriter(w)
	c := &call{request: r, writer: &a, id: web.NewRequestID(), operation: "none"}
	defer h.finish(&a, c, h.options.Now())
	protect(a.Header())
	if origins.Allow(a.Header(), r) {
		a.WriteHeader(http.StatusNoContent)
		return
	}
	if err := h.route(&a, c); err != nil {
		h.refuse(&a, c, err)
	}
}

// route is the table of contents: an image is made at the root, and shown and deleted below.
func (h *Handler) route(a *web.Writer, c *call) error {
	path := c.request.URL.EscapedPath()
	if path == root {
		if c.request.Method != http.MethodPost {
			return wrongMethod(a, c, "OPTIONS, POST")
		}
		c.operation = "upload"
		return h.create(a, c)
	}
	imageID, kind, ok := parseID(strings.TrimPrefix(path, root+"/"))
	if !ok {
		return image.NotFound()
	}
	switch c.request.Method {
	case http.MethodGet, http.MethodHead:
		c.operation = "show"
		return h.show(a, c, imageID, kind)
	case http.MethodDelete:
		c.operation = "delete"
		return h.remove(a, c, imageID)
	}
	return wrongMethod(a, c, "DELETE, GET, HEAD, OPTIONS")
}

func wrongMethod(a *web.Writer, c *call, allowed string) error {
	a.Header().Set("Allow", allowed)
	return code.New(code.MethodNotAllowed, "%s is not allowed here; allowed are %s.", c.request.Method, allowed)
}

// admit checks who asks, what the asker may and how often.
func (h *Handler) admit(ctx context.Context, c *call, cost float64) error {
	address := web.RemoteAddress(c.request)
	if err := h.Limits.Spent(limit.Guess, address); err != nil {
		return err
	}
	err := h.authenticate(ctx, c)
	if e, ok := code.Of(err); ok && e.HTTPStatus() == http.StatusUnauthorized {
		if spent := h.Limits.Allow(limit.Guess, address, 1); spent != nil {
			return spent
		}
	}
	if err != nil {
		return err
	}
	if err := h.Limits.Allow(limit.Token, c.who.ApplicationId+"/"+c.who.UserId, cost); err != nil {
		return err
	}
	return h.Limits.Allow(limit.Application, c.who.ApplicationId, cost)
}

func (h *Handler) authenticate(ctx context.Context, c *call) error {
	token, err := web.BearerToken(c.request)
	if err != nil {
		return err
	}
	claims, err := h.Verifier.Verify(ctx, token)
	if err != nil {
		return err
	}
	c.who = claims.Principal()
	return claims.Allows(c.request.Method, c.request.URL.EscapedPath()) // route found it to be clean
}

// remove deletes an image with all its pictures, whichever of them was named.
func (h *Handler) remove(a *web.Writer, c *call, imageID string) error {
	ctx, cancel := context.WithTimeout(c.request.Context(), h.options.ProcessTimeout)
	defer cancel()
	if err := h.admit(ctx, c, 1); err != nil {
		return err
	}
	if err := again(ctx, func() error { return h.Cluster.DeleteImage(ctx, c.who, imageID) }); err != nil {
		return err
	}
	a.WriteHeader(http.StatusNoContent)
	return nil
}

// finish ends every request: a panic becomes a 500, and one line goes to the access log, without
// query, header or body.
func (h *Handler) finish(a *web.Writer, c *call, started time.Time) {
	if cause := recover(); cause != nil {
		if cause == http.ErrAbortHandler {
			h.note(a, c, started)
			panic(cause)
		}
		h.metrics.panics.Inc()
		h.options.Logger.Error("panic", "request_id", c.id, "cause", cause, "stack", string(debug.Stack()))
		if !a.Written {
			h.refuse(a, c, code.New(code.Internal, "Something went wrong on our side."))
		}
	}
	h.note(a, c, started)
}

func (h *Handler) note(a *web.Writer, c *call, started time.Time) {
	h.metrics.requests.WithLabelValues(c.operation, strconv.Itoa(a.Status)).Inc()
	attributes := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", c.request.Method), slog.String("path", c.request.URL.EscapedPath()),
		slog.String("operation", "image."+c.operation), slog.Int("status", a.Status), slog.Int64("bytes", a.Bytes),
		slog.Float64("ms", float64(h.options.Now().Sub(started).Microseconds())/1000), slog.String("remote", c.request.RemoteAddr),
	}
	if c.who != nil {
		attributes = append(attributes, slog.String("application", c.who.ApplicationId), slog.String("user", c.who.UserId))
	}
	if c.code != "" {
		attributes = append(attributes, slog.String("code", string(c.code)))
		h.metrics.refused.WithLabelValues(string(c.code)).Inc()
	}
	h.options.Logger.LogAttrs(c.request.Context(), slog.LevelInfo, "request", attributes...)
}
