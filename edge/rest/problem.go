package rest

import (
	"net/http"

	"parley/edge/web"
	"parley/proto/code"
)

// betaProblem is an error as the first generation tells it.
type betaProblem struct {
	Code        string              `json:"code"`
	Description string              `json:"description"`
	Validation  map[string][]string `json:"validation,omitempty" doc:"The reasons for each rejected input."`
}

// bothProblem is an error as the second generation tells it, whose clients come from before and
// after the change of the form.
type bothProblem struct {
	web.Problem
	Description string              `json:"description" doc:"The same as detail."`
	Validation  map[string][]string `json:"validation,omitempty" doc:"The reasons for each rejected input."`
}

// refuse answers err in the form of the call's generation.
func (h *Handler) refuse(a *answer, c *call, err error) {
	e := h.coded(c, err)
	a.code = e.Code
	status := c.generation.statusOf(e)
	web.SetRetryAfter(a.Header(), e, status)
	if status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", c.challenge())
	}
	message := e.Message
	if e.Code == code.Unknown {
		message = c.unknown()
	}
	told := *e
	told.Message = message
	p := web.ProblemOf(&told, c.id)
	old := betaProblem{Code: p.Code, Description: message, Validation: validation(e.Fields)}
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

func validation(fields []code.Field) map[string][]string {
	if len(fields) == 0 {
		return nil
	}
	v := make(map[string][]string, len(fields))
	for _, f := range fields {
		v[f.Name] = append(v[f.Name], web.Reason(f))
	}
	return v
}
