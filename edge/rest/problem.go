package rest

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"parley/proto/code"
)

// problem is an error as v1 and later generations tell it (RFC 7807 with two more members).
type problem struct {
	Title   string             `json:"title" doc:"What kind of error it is, for people."`
	Type    string             `json:"type" doc:"A URI that ends in the code."`
	Code    string             `json:"code" doc:"What kind of error it is, for programs. See docs/errors.md."`
	Detail  string             `json:"detail" doc:"What was wrong with this request."`
	Where   string             `json:"instance" doc:"Names this request in the log of the node."`
	Invalid []invalidParameter `json:"invalid_parameters,omitempty" doc:"Each rejected input."`
}

type invalidParameter struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// betaProblem is an error as the first generation tells it.
type betaProblem struct {
	Code        string              `json:"code"`
	Description string              `json:"description"`
	Validation  map[string][]string `json:"validation,omitempty" doc:"The reasons for each rejected input."`
}

// bothProblem is an error as the second generation tells it, whose clients come from before and
// after the change of the form.
type bothProblem struct {
	problem
	Description string              `json:"description" doc:"The same as detail."`
	Validation  map[string][]string `json:"validation,omitempty" doc:"The reasons for each rejected input."`
}

const typePrefix = "https://developer.nexmo.com/api/conversation#"

// refuse answers err in the form of the call's generation.
func (h *Handler) refuse(a *answer, c *call, err error) {
	e := h.coded(c, err)
	a.code = e.Code
	status := c.generation.statusOf(e)
	advise(a.Header(), e, status)
	if status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", c.challenge())
	}
	message := e.Message
	if e.Code == code.Unknown {
		message = c.unknown()
	}
	old := betaProblem{Code: string(e.Code), Description: message, Validation: validation(e.Fields)}
	p := problem{Title: title(e.Code), Type: typePrefix + string(e.Code), Code: string(e.Code), Detail: message, Where: c.id}
	for _, f := range e.Fields {
		p.Invalid = append(p.Invalid, invalidParameter{Name: f.Name, Reason: reason(f)})
	}
	switch c.generation.refusal {
	case oldForm:
		h.writeJSON(a, status, old)
	case bothForms:
		h.writeJSON(a, status, bothProblem{p, old.Description, old.Validation})
	default:
		h.writeJSON(a, status, p)
	}
}

// statusOf is the code's status; the first generations knew no 409.
func (g *generation) statusOf(e *code.Error) int {
	status := e.HTTPStatus()
	if g.no409 && status == http.StatusConflict {
		return http.StatusBadRequest
	}
	return status
}

// advise says when to come back, in whole seconds, at least one.
func advise(header http.Header, e *code.Error, status int) {
	wait := e.RetryAfter
	if wait == 0 && status == http.StatusServiceUnavailable {
		wait = time.Second
	}
	if wait > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
}

func (c *call) challenge() string {
	if c.operation != nil && !c.operation.scheme.token() {
		return `Basic realm="parley"`
	}
	return "Bearer"
}

// unknown says what to do when a write may have happened.
func (c *call) unknown() string {
	if c.key != "" {
		return "It is not known whether the request was carried out. Send it again with the same Idempotency-Key: it is carried out once, and the answer is that of the first time."
	}
	return "It is not known whether the request was carried out. It had no Idempotency-Key, so look whether it was before you repeat it. With a key, send the same request with the same Idempotency-Key and it is carried out once."
}

// reason words why an input was rejected: "page_size" must be a number.
func reason(f code.Field) string {
	if strings.HasPrefix(f.Reason, `"`) {
		return f.Reason
	}
	return `"` + f.Name[strings.LastIndexByte(f.Name, '.')+1:] + `" ` + f.Reason
}

func validation(fields []code.Field) map[string][]string {
	if len(fields) == 0 {
		return nil
	}
	v := make(map[string][]string, len(fields))
	for _, f := range fields {
		v[f.Name] = append(v[f.Name], reason(f))
	}
	return v
}

// title words a code for people. Codes of the hosted API have its titles where they are known.
func title(c code.Code) string {
	if t, ok := titles[c]; ok {
		return t
	}
	kind := string(c[strings.LastIndexByte(string(c), ':')+1:])
	words := strings.ReplaceAll(kind, "-", " ")
	return strings.ToUpper(words[:1]) + words[1:] + "."
}

var titles = map[code.Code]string{
	code.ValidationFail:      "Bad request.",
	code.InvalidMemberState:  "Conflict.",
	code.MemberAlreadyJoined: "Bad request.",
	code.Permission:          "Forbidden.",
	code.Internal:            "Internal server error.",
}
