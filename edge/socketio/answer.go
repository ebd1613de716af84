package socketio

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"

	"parley/edge/dialect/nexmo"
	"parley/proto/code"
)

// success is the payload of an answer: the request's own id and conversation, if it had them, and
// the body. It is written without an encoder, because thousands of receipts are answered at once.
func success(rid json.RawMessage, cid string, body json.RawMessage) []byte {
	payload := append(make([]byte, 0, len(rid)+len(cid)+len(body)+32), '{')
	if len(rid) > 0 {
		payload = append(append(append(payload, `"rid":`...), rid...), ',')
	}
	if cid != "" {
		payload = append(appendJSON(append(payload, `"cid":`...), cid), ',')
	}
	return append(append(append(payload, `"body":`...), body...), '}')
}

// failure is the payload of a refusal. The event's name is its code.
type failure struct {
	Rid         json.RawMessage     `json:"rid,omitempty"`
	Cid         string              `json:"cid,omitempty"`
	Code        string              `json:"code"`
	Description string              `json:"description"`
	Validation  map[string][]string `json:"validation,omitempty"`
	RetryAfter  int64               `json:"retry_after_ms,omitempty"`
	Body        struct{}            `json:"body"`
}

// answer carries out an action and answers.
func (c *conn) answer(ctx context.Context, s *session, r *request, run action) {
	made := &call{conn: c, session: s, request: r}
	defer made.sent()
	err := r.check()
	var body any
	if err == nil {
		body, err = run(made, ctx)
	}
	if err != nil {
		c.refuse(r, s, err)
		return
	}
	c.succeed(ctx, s, r, body)
}

// succeed answers with a body, which is any value of ours or the JSON itself.
func (c *conn) succeed(ctx context.Context, s *session, r *request, body any) {
	c.handler.metrics.requests.WithLabelValues("ok").Inc()
	raw, ok := body.(json.RawMessage)
	if !ok {
		raw = appendJSON(nil, body)
	}
	frame := eventFrame(successName(s, r.kind), success(r.rid, r.cid, raw))
	const usual = 64 << 10
	if len(frame) <= usual {
		c.wire.Send(frame)
		return
	}
	if err := c.wire.SendWhole(ctx, frame); err != nil {
		c.refuse(r, s, code.New(code.Unavailable, "the answer before this one has not been read yet; try again"))
	}
}

// successName is the event that answers a request. The oldest SDK waits for another name than it
// asked by in two cases.
func successName(s *session, kind string) string {
	if s != nil && s.dialect.Generation == nexmo.Conversation {
		for _, switched := range []string{"audio:mute", "audio:earmuff"} {
			if strings.HasPrefix(kind, switched+":") {
				return switched + ":success"
			}
		}
	}
	return kind + ":success"
}

// refuse answers with a coded error. The cause of an uncoded one goes to the log alone.
func (c *conn) refuse(r *request, s *session, err error) {
	e, ok := code.Of(err)
	if !ok {
		c.handler.options.Logger.Error("request failed", "kind", r.kind, "error", err)
		e = code.New(code.Internal, "the server failed to do this; try again")
	}
	c.handler.metrics.requests.WithLabelValues(string(e.Code)).Inc()
	f := failure{Rid: r.rid, Cid: r.cid, Code: errorName(r.kind, e.Code), Description: e.Message, RetryAfter: e.RetryAfter.Milliseconds()}
	for _, field := range e.Fields {
		if f.Validation == nil {
			f.Validation = map[string][]string{}
		}
		f.Validation[field.Name] = append(f.Validation[field.Name], field.Reason)
		f.Description += " " + field.Name + " " + field.Reason + "."
	}
	c.wire.Send(eventFrame(f.Code, appendJSON(nil, f)))
}

// errorName is the code as the socket names it: some refusals had a name for each kind of event,
// on which SDKs branch.
func errorName(kind string, c code.Code) string {
	family, _, _ := strings.Cut(kind, ":")
	content := family == "text" || family == "image"
	switch {
	case content && c == code.EventNotJoined:
		return family + ":error:not-joined"
	case content && c == code.EventPermission:
		return family + ":error:invalid-member"
	case c == code.MissingToken:
		return string(code.InvalidToken)
	case (kind == "push:register" || kind == "push:unregister") && c != code.SessionInvalid && c != code.ExpiredToken:
		return kind + ":error" // without a session they are refused as everything is
	}
	return string(c)
}

// unavailable refuses what Parley does not have; nil for everything else. Clients are told at
// once: many wait for an answer for ever.
func unavailable(kind string) error {
	family, _, _ := strings.Cut(kind, ":")
	switch family {
	case "rtc", "knocking", "leg", "sip", "call":
		return code.New(code.NotAvailable, "voice is not available on this server")
	}
	return nil
}

// socketID is the id of a namespace's socket, which clients show and nobody asks for.
func socketID() string { return rand.Text() }

// ackOf is the rest of an ack packet without arguments.
func ackOf(id uint64) string { return strconv.FormatUint(id, 10) + "[]" }
