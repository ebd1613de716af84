package rest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"parley/edge/auth"
	"parley/edge/limit"
	"parley/edge/web"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// call is one request on its way to its operation.
type call struct {
	id         string // 32 hex digits: names this request in the answer and in the log
	request    *http.Request
	writer     http.ResponseWriter
	operation  *operation // nil until found
	generation *generation
	parameters map[string]string
	claims     *auth.Claims      // nil for operators
	who        *nodev1.Principal // nil for operators
	body       *input
	query      *input
	faults     faults // shared by body and query
	targets    Targets
	key        string // Idempotency-Key
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{Writer: web.NewWriter(w)}
	c := &call{request: r, writer: w, id: web.NewRequestID(), generation: generationOf(r.URL.Path), targets: h.Targets}
	defer h.finish(a, c, h.options.Now())
	web.Protect(a.Header())
	if origins.Allow(a.Header(), r) {
		a.WriteHeader(http.StatusNoContent)
		return
	}
	if h.serveStatic(a, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.options.RequestTimeout)
	defer cancel()
	reply, err := h.serve(ctx, a, c)
	if err != nil {
		h.refuse(a, c, err)
		return
	}
	h.reply(a, c, reply)
}

// serve takes a request from its path to the answer of its operation.
func (h *Handler) serve(ctx context.Context, a *answer, c *call) (any, error) {
	p, ok := h.router.find(c.request.URL.EscapedPath())
	if !ok {
		return nil, code.New(code.NotFound, "Nothing is served at this path.")
	}
	method := c.request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	op := p.node.methods[method]
	if op == nil {
		a.Header().Set("Allow", p.node.allowed())
		return nil, code.New(code.MethodNotAllowed, "%s is not allowed here; allowed are %s.", c.request.Method, p.node.allowed())
	}
	c.operation, c.generation, c.parameters = op, op.generation, p.parameters
	if err := h.admit(ctx, c, p); err != nil {
		return nil, err
	}
	if err := c.readKey(); err != nil {
		return nil, err
	}
	return op.serve(ctx, c)
}

// admit checks who asks, what the asker may and how often, and reads the input. Bearer tokens
// are checked before the body is read; an operator of the old generation may stand in the body.
func (h *Handler) admit(ctx context.Context, c *call, p place) error {
	address := web.RemoteAddress(c.request)
	if err := h.Limits.Spent(limit.Guess, address); err != nil {
		return err
	}
	var err error
	if c.query, err = readQuery(c); err != nil {
		return err
	}
	if c.operation.scheme.token() {
		err = h.admitToken(ctx, c, p)
	} else {
		err = h.admitOperator(ctx, c)
	}
	if e, ok := code.Of(err); ok && e.HTTPStatus() == http.StatusUnauthorized {
		if spent := h.Limits.Allow(limit.Guess, address, 1); spent != nil {
			return spent
		}
	}
	if err != nil || c.body != nil {
		return err
	}
	return h.readBody(c)
}

func (h *Handler) admitToken(ctx context.Context, c *call, p place) error {
	token, err := web.BearerToken(c.request)
	if err != nil {
		return err
	}
	if c.claims, err = h.Verifier.Verify(ctx, token); err != nil {
		return err
	}
	if c.operation.scheme == bearer {
		if err := c.claims.Allows(c.request.Method, p.path()); err != nil {
			return err
		}
	}
	c.who = c.claims.Principal()
	if err := h.Limits.Allow(limit.Token, c.who.ApplicationId+"/"+c.who.UserId, 1); err != nil {
		return err
	}
	if conversation := c.parameters["conversation"]; conversation != "" {
		if err := h.Limits.Allow(limit.Conversation, c.who.ApplicationId+"/"+conversation, 1); err != nil {
			return err
		}
	}
	if err := h.Limits.Allow(limit.Application, c.who.ApplicationId, 1); err != nil {
		return err
	}
	if c.operation.adminOnly && !c.who.Admin {
		return code.New(code.Permission, "Only an administrator's token, one without sub, may %s %s.", c.request.Method, p.path())
	}
	return nil
}

// admitOperator checks the API key and secret: HTTP Basic, or in the old generation two members
// of the query or the body.
func (h *Handler) admitOperator(ctx context.Context, c *call) error {
	key, secret, ok := c.request.BasicAuth()
	if ok {
		if err := web.CheckLogin(c.request); err != nil {
			return err
		}
	}
	if !ok && c.operation.scheme == keyInInput {
		if err := h.readBody(c); err != nil {
			return err
		}
		for _, in := range []*input{c.query, c.body} {
			key, secret = in.take("api_key", key), in.take("api_secret", secret)
		}
		ok = key != "" || secret != ""
	}
	if !ok {
		return code.New(code.InvalidCredentials, "An API key and secret are needed (HTTP Basic).")
	}
	return h.Keys.Verify(ctx, key, secret)
}

func (h *Handler) readBody(c *call) error {
	// A body that trickles in must end. What can not have a deadline is bounded by the request's. It stays
	// when the body is refused: the server reads on before it answers.
	connection := http.NewResponseController(c.writer)
	_ = connection.SetReadDeadline(h.options.Now().Add(h.options.BodyTimeout))
	raw, err := io.ReadAll(io.LimitReader(c.request.Body, h.options.BodyBytesMax+1))
	if err == nil && int64(len(raw)) <= h.options.BodyBytesMax {
		_ = connection.SetReadDeadline(time.Time{})
	}
	switch {
	case err != nil:
		return code.New(code.ValidationFail, "The body could not be read to its end.")
	case int64(len(raw)) > h.options.BodyBytesMax:
		return code.New(code.TooLarge, "The body is larger than %d bytes.", h.options.BodyBytesMax)
	}
	if c.body, err = readInput(c, raw, &h.options); err != nil && c.operation.body == nil {
		c.body, err = newInput(c, nil, true), nil // nobody asked for it, so it can not be wrong
	}
	return err
}

// keyBytesMax bounds an idempotency key, which is stored with what it made.
const keyBytesMax = 128

func (c *call) readKey() error {
	if c.request.Method != http.MethodPost {
		return nil
	}
	c.key = c.request.Header.Get("Idempotency-Key")
	if len(c.key) > keyBytesMax {
		return code.Invalid("Idempotency-Key", fmt.Sprintf("length must be less than or equal to %d characters long", keyBytesMax))
	}
	for i := range len(c.key) {
		if c.key[i] < 0x20 || c.key[i] > 0x7e {
			return code.Invalid("Idempotency-Key", "must consist of printable ASCII characters")
		}
	}
	return nil
}

// once is the key under which a change is carried out: the client's own, or one made up for this
// request alone. With it the cluster may ask again when a leader fails in the middle, and the
// client does not notice.
func (c *call) once() string {
	if c.key == "" {
		return rand.Text()
	}
	return c.key
}

// reply writes what an operation gave. A nil reply has no body.
func (h *Handler) reply(a *answer, c *call, reply any) {
	switch reply := reply.(type) {
	case nil:
		a.WriteHeader(c.operation.status)
	case *stream:
		h.writeStream(a, c, reply)
	default:
		h.writeJSON(a, c.operation.status, reply)
	}
}

func (h *Handler) writeJSON(a *answer, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// A stored body that is no JSON is the only way here: the log must know, the client can not help.
		h.options.Logger.Error("encode answer", "error", err)
		status, b = http.StatusInternalServerError, *bytes.NewBufferString("{}\n")
	}
	a.Header().Set("Content-Type", "application/json")
	a.WriteHeader(status)
	_, _ = a.Write(b.Bytes()) // an error here means that the client is gone
}

// serveStatic answers the pages that are no part of the API.
func (h *Handler) serveStatic(a *answer, r *http.Request) bool {
	path := r.URL.Path
	switch {
	case path == "/openapi.json" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		a.Header().Set("Content-Type", "application/json")
		_, _ = a.Write(h.spec)
	case path == "/docs" || strings.HasPrefix(path, "/docs/"):
		h.docs.ServeHTTP(a, r)
	default:
		return false
	}
	return true
}

// coded makes sure that err has a code. What has none is a fault of ours: the cause is logged.
func (h *Handler) coded(c *call, err error) *code.Error {
	e, fault := web.Coded(err)
	if fault {
		h.options.Logger.Error("request failed", "request_id", c.id, "error", err)
	}
	return e
}
