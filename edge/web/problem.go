package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"parley/internal/retryafter"
	"parley/proto/code"
)

// Problem is an error as v1 and later generations tell it (RFC 7807 with two more members).
type Problem struct {
	Title   string             `json:"title" doc:"What kind of error it is, for people."`
	Type    string             `json:"type" doc:"A URI that ends in the code."`
	Code    string             `json:"code" doc:"What kind of error it is, for programs. See docs/errors.md."`
	Detail  string             `json:"detail" doc:"What was wrong with this request."`
	Where   string             `json:"instance" doc:"Names this request in the log of the node."`
	Invalid []InvalidParameter `json:"invalid_parameters,omitempty" doc:"Each rejected input."`
}

// InvalidParameter is one rejected input.
type InvalidParameter struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

const typePrefix = "https://developer.nexmo.com/api/conversation#"

// ProblemOf tells e about the request that instance names.
func ProblemOf(e *code.Error, instance string) Problem {
	p := Problem{Title: title(e.Code), Type: typePrefix + string(e.Code), Code: string(e.Code), Detail: e.Message, Where: instance}
	for _, f := range e.Fields {
		p.Invalid = append(p.Invalid, InvalidParameter{Name: f.Name, Reason: Reason(f)})
	}
	return p
}

// Reason words why an input was rejected: "page_size" must be a number.
func Reason(f code.Field) string {
	if strings.HasPrefix(f.Reason, `"`) {
		return f.Reason
	}
	return `"` + f.Name[strings.LastIndexByte(f.Name, '.')+1:] + `" ` + f.Reason
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

// SetRetryAfter says when to come back, in whole seconds, at least one.
func SetRetryAfter(header http.Header, e *code.Error, status int) {
	wait := e.RetryAfter
	if wait == 0 && status == http.StatusServiceUnavailable {
		wait = time.Second
	}
	if wait > 0 {
		retryafter.Write(header, wait)
	}
}

// Coded gives err as a client may be told it. fault says that it had no code: then it is ours, and
// the caller logs the cause.
func Coded(err error) (e *code.Error, fault bool) {
	if e, ok := code.Of(err); ok {
		return e, false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return code.New(code.Unavailable, "The request took too long; try again."), false
	}
	return code.New(code.Internal, "Something went wrong on our side; the log of the node has the details under this instance."), true
}
