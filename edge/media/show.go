package media

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"parley/actors/blob"
	"parley/edge/media/picture"
	"parley/edge/web"
	eventv1 "parley/proto/event/v1"
)

// show sends a picture to anybody of its application.
func (h *Handler) show(a *web.Writer, c *call, imageID string, kind int) error {
	ctx, cancel := context.WithTimeout(c.request.Context(), h.options.SendTimeout)
	defer cancel()
	if err := h.admit(ctx, c, 1); err != nil {
		return err
	}
	i, err := h.Cluster.GetImage(ctx, c.who, imageID)
	if err != nil {
		return err
	}
	p := pictureOf(i, kind)
	tag := `"` + p.Sha256 + `"`
	if matches(c.request.Header.Get("If-None-Match"), tag) {
		describe(a.Header(), tag)
		a.WriteHeader(http.StatusNotModified)
		return nil
	}
	if c.request.Method == http.MethodHead {
		describe(a.Header(), tag)
		content(a.Header(), p, imageID)
		a.WriteHeader(http.StatusOK)
		return nil
	}
	bytes, err := h.open(ctx, c.who, p)
	if err != nil {
		return err
	}
	defer bytes.Close()
	return h.send(a, c, bytes, func() {
		describe(a.Header(), tag)
		content(a.Header(), p, imageID)
	})
}

// describe sets what is told of a picture even when it is not sent. A picture never changes, but it
// may be deleted: caches ask each time.
func describe(header http.Header, tag string) {
	header.Set("ETag", tag)
	header.Set("Cache-Control", "private, no-cache")
	header.Add("Vary", "Authorization")
}

func content(header http.Header, p *eventv1.Picture, imageID string) {
	extension := map[string]string{picture.TypeJPEG: ".jpg", picture.TypePNG: ".png", picture.TypeGIF: ".gif"}[p.MediaType]
	header.Set("Content-Type", p.MediaType)
	header.Set("Content-Length", strconv.FormatUint(p.Size, 10))
	header.Set("Content-Disposition", `attachment; filename="`+imageID+extension+`"`)
}

// matches says whether a condition names the tag.
func matches(condition, tag string) bool {
	for t := range strings.SplitSeq(condition, ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}

// send copies a picture, always one piece behind: the last one leaves when the whole is known to
// be right, and what is not ends as a broken connection, never as a complete answer. head is
// called before the first piece leaves; until then errors can be told.
func (h *Handler) send(a *web.Writer, c *call, bytes io.Reader, head func()) error {
	held, next := make([]byte, blob.ChunkBytes), make([]byte, blob.ChunkBytes)
	n, last, err := fill(bytes, held)
	if err != nil {
		return h.unsent(err)
	}
	// The server's own is for small answers, and counts from the request; it sets it anew with the next one.
	_ = http.NewResponseController(c.writer).SetWriteDeadline(h.options.Now().Add(h.options.SendTimeout))
	head()
	for !last {
		var m int
		if m, last, err = fill(bytes, next); err != nil {
			h.options.Logger.Error("a picture was cut", "request_id", c.id, "error", h.unsent(err))
			panic(http.ErrAbortHandler)
		}
		if _, err := a.Write(held[:n]); err != nil {
			return nil // the client is gone
		}
		held, next, n = next, held, m
	}
	_, _ = a.Write(held[:n]) // an error here means that the client is gone
	h.metrics.sent.Add(float64(a.Bytes))
	return nil
}

// unsent counts damage, and passes err on.
func (h *Handler) unsent(err error) error {
	if errors.Is(err, errDamaged) {
		h.metrics.damaged.Inc()
	}
	return err
}

// fill reads until b is full; last says that the end was seen.
func fill(r io.Reader, b []byte) (n int, last bool, err error) {
	n, err = io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}
