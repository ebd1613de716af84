// Package code is the closed set of coded errors that leave Parley. The names are those of the
// hosted Conversation API wherever it had one, because its clients branch on them.
package code

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code names a refusal or failure on every wire (REST, native and Socket.IO).
type Code string

// The closed set. A code is never renamed.
const (
	ValidationFail       Code = "http:error:validation-fail"
	NotFound             Code = "http:error:not-found"
	MethodNotAllowed     Code = "http:error:method-not-allowed"
	UnsupportedMedia     Code = "http:error:unsupported-media-type"
	TooLarge             Code = "http:error:payload-too-large"
	RateLimited          Code = "http:error:too-many-requests"
	InvalidToken         Code = "system:error:invalid-token"
	ExpiredToken         Code = "system:error:expired-token"
	MissingToken         Code = "system:error:missing-token"
	Permission           Code = "system:error:permission"
	Internal             Code = "system:error:internal-error"
	Unavailable          Code = "system:error:unavailable"     // surely not done; try again
	Unknown              Code = "system:error:unknown-outcome" // perhaps done; retry with the same client id
	InvalidEvent         Code = "system:error:invalid-event"
	ConversationNotFound Code = "conversation:error:not-found"
	ConversationName     Code = "conversation:error:duplicate-name"
	MemberNotFound       Code = "conversation:error:member-not-found"
	MemberAlreadyJoined  Code = "conversation:error:member-already-joined"
	MemberAlreadyInvited Code = "conversation:error:member-already-invited"
	InvalidMemberState   Code = "conversation:error:invalid-member-state"
	UserNotFound         Code = "user:error:not-found"
	UserName             Code = "user:error:duplicate-name"
	EventNotFound        Code = "event:error:not-found"
	EventNotJoined       Code = "event:error:not-joined"
	EventPermission      Code = "event:error:permission-denied"
	ApplicationNotFound  Code = "application:error:not-found"
	InvalidCredentials   Code = "system:error:invalid-credentials"
	SessionInvalid       Code = "session:invalid"
	SessionNotFound      Code = "session:error:not-found"
	TooManySessions      Code = "session:error:max-open-sessions"
	NotAvailable         Code = "system:error:not-available"        // a feature that Parley does not have
	NotStored            Code = "system:error:not-stored"           // surely not done: no space on the disks; try again
	IdempotencyConflict  Code = "system:error:idempotency-conflict" // same key, other request
	ClusterState         Code = "cluster:error:invalid-state"       // an operator asks for what the cluster cannot do as it is
)

// statuses maps each code to its HTTP status; what is absent is 500.
var statuses = map[Code]int{
	ValidationFail: http.StatusBadRequest, NotFound: http.StatusNotFound,
	MethodNotAllowed: http.StatusMethodNotAllowed, UnsupportedMedia: http.StatusUnsupportedMediaType,
	TooLarge: http.StatusRequestEntityTooLarge, RateLimited: http.StatusTooManyRequests,
	InvalidToken: http.StatusUnauthorized, ExpiredToken: http.StatusUnauthorized, MissingToken: http.StatusUnauthorized,
	Permission: http.StatusForbidden, Internal: http.StatusInternalServerError,
	Unavailable: http.StatusServiceUnavailable, Unknown: http.StatusServiceUnavailable, NotStored: http.StatusInsufficientStorage,
	InvalidEvent:         http.StatusBadRequest,
	ConversationNotFound: http.StatusNotFound, ConversationName: http.StatusConflict,
	MemberNotFound: http.StatusNotFound, MemberAlreadyJoined: http.StatusBadRequest,
	MemberAlreadyInvited: http.StatusBadRequest, InvalidMemberState: http.StatusBadRequest,
	UserNotFound: http.StatusNotFound, UserName: http.StatusConflict,
	EventNotFound: http.StatusNotFound, EventNotJoined: http.StatusForbidden, EventPermission: http.StatusForbidden,
	ApplicationNotFound: http.StatusNotFound, InvalidCredentials: http.StatusUnauthorized,
	SessionInvalid: http.StatusUnauthorized, SessionNotFound: http.StatusNotFound,
	NotAvailable:    http.StatusNotImplemented,
	TooManySessions: http.StatusTooManyRequests, IdempotencyConflict: http.StatusConflict, ClusterState: http.StatusConflict,
}

// Passing says whether a refusal by c is about this moment alone: the same request, repeated, may be
// granted later.
func (c Code) Passing() bool {
	switch c {
	case RateLimited, Unavailable, NotStored, Unknown, Internal:
		return true
	}
	return false
}

// Field is one rejected input and why, worded for the caller.
type Field struct {
	Name   string
	Reason string
}

// Error is what a caller is told. Message is for people and says what to do; it never carries
// a token, a body or an internal cause.
type Error struct {
	Code       Code
	Message    string
	Fields     []Field       // for ValidationFail
	RetryAfter time.Duration // 0 = no advice
}

// New makes a coded error with a formatted message.
func New(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes a ValidationFail for one field; reason follows the field's name in the style
// of the hosted API: `"page_size" must be a number`.
func Invalid(field, reason string) *Error {
	return &Error{Code: ValidationFail, Message: "Input validation failure.", Fields: []Field{{field, reason}}}
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// HTTPStatus is the status of the code in the v1 generation.
func (e *Error) HTTPStatus() int {
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Is lets errors.Is compare by code: errors.Is(err, code.New(code.UserNotFound, "")).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Of finds the coded error inside err, or gives ok=false.
func Of(err error) (e *Error, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}

// Has says whether err carries code c.
func Has(err error, c Code) bool {
	e, ok := Of(err)
	return ok && e.Code == c
}
