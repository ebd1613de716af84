package media

import (
	"encoding/json"
	"net/http"

	"parley/edge/web"
	"parley/proto/code"
)

// origins are what pages may do.
var origins = web.Origins{
	Methods: "GET, HEAD, POST, DELETE, OPTIONS",
	Headers: "authorization, content-type, idempotency-key, if-none-match",
	Exposed: "Retry-After, Allow, ETag, Content-Length",
}

// protect sets what every answer carries, so that a browser takes it for what it is, and never for
// a page.
func protect(header http.Header) {
	web.Protect(header)
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// refuse answers err. When a picture is half sent there is nothing to answer with any more.
func (h *Handler) refuse(a *web.Writer, c *call, err error) {
	e := h.coded(c, err)
	c.code = e.Code
	status := e.HTTPStatus()
	web.SetRetryAfter(a.Header(), e, status)
	if status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", "Bearer")
	}
	h.writeJSON(a, status, web.ProblemOf(e, c.id))
}

// coded makes sure that err has a code. What has none is a fault of ours: the cause is logged.
func (h *Handler) coded(c *call, err error) *code.Error {
	e, fault := web.Coded(err)
	if fault {
		h.options.Logger.Error("request failed", "request_id", c.id, "error", err)
	}
	return e
}

func (h *Handler) writeJSON(a *web.Writer, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		h.options.Logger.Error("encode answer", "error", err)
		status, b = http.StatusInternalServerError, []byte("{}")
	}
	a.Header().Set("Content-Type", "application/json")
	a.WriteHeader(status)
	_, _ = a.Write(append(b, '\n')) // an error here means that the client is gone
}
