package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
)

// stream is a list that is read and written in steps, so that a long one needs no more memory than
// a step of it.
type stream struct {
	items []any                                // the first step, not empty: what is refused is refused whole
	next  func(context.Context) ([]any, error) // the step after; empty = the end
}

// streamed reads the first step. A list that has no more is an ordinary answer. read gives some
// items, perhaps none, and whether there is more.
func streamed(ctx context.Context, read func(context.Context) ([]any, bool, error)) (any, error) {
	more := true
	next := func(ctx context.Context) (items []any, err error) {
		for more && len(items) == 0 && err == nil {
			items, more, err = read(ctx)
		}
		return items, err
	}
	items, err := next(ctx)
	switch {
	case err != nil:
		return nil, err
	case more:
		return &stream{items, next}, nil
	}
	return items, nil
}

// writeStream writes s as one JSON array. When a later step can not be read, the connection is cut:
// the client sees an answer that broke off and not one that seems whole.
func (h *Handler) writeStream(a *answer, c *call, s *stream) {
	a.Header().Set("Content-Type", "application/json")
	a.WriteHeader(c.operation.status)
	if c.request.Method == http.MethodHead {
		return
	}
	// A step may take as long as a request; the client may take as long for each as for a body.
	connection := http.NewResponseController(c.writer)
	opening := byte('[')
	for items := s.items; len(items) > 0; {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		for _, item := range items {
			b.WriteByte(opening)
			opening = ','
			if err := e.Encode(item); err != nil {
				h.cut(c, err)
			}
		}
		_ = connection.SetWriteDeadline(h.options.Now().Add(h.options.BodyTimeout))
		if _, err := a.Write(b.Bytes()); err != nil {
			return // the client is gone
		}
		ctx, cancel := context.WithTimeout(c.request.Context(), h.options.RequestTimeout)
		var err error
		items, err = s.next(ctx)
		cancel()
		if err != nil {
			h.cut(c, err)
		}
	}
	_, _ = a.Write([]byte("]\n")) // an error here means that the client is gone
}

// cut breaks an answer off that has begun.
func (h *Handler) cut(c *call, cause error) {
	h.metrics.cut.Inc()
	h.options.Logger.Error("answer cut", "request_id", c.id, "error", cause)
	panic(http.ErrAbortHandler)
}
