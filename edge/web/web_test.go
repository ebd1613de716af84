package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"parley/proto/code"
)

func TestAWriterRemembers(t *testing.T) {
	recorder := httptest.NewRecorder()
	w := NewWriter(recorder)
	if w.Written || w.Status != 200 {
		t.Fatalf("%+v", w)
	}
	w.WriteHeader(404)
	w.WriteHeader(500) // too late
	if _, err := w.Write([]byte("gone")); err != nil {
		t.Fatal(err)
	}
	if w.Status != 404 || w.Bytes != 4 || !w.Written || recorder.Code != 404 || w.Unwrap() != http.ResponseWriter(recorder) {
		t.Errorf("%+v, answered %d", w, recorder.Code)
	}
	recorder = httptest.NewRecorder()
	w = NewWriter(recorder)
	if _, err := w.Write(nil); err != nil || !w.Written || recorder.Code != 200 {
		t.Errorf("an empty body is an answer: %+v, %v", w, err)
	}
}

func TestOrigins(t *testing.T) {
	o := Origins{Methods: "GET, OPTIONS", Headers: "authorization, content-type", Exposed: "Retry-After"}
	for _, tc := range []struct {
		name, method, origin, asked string
		preflight                   bool
		allowed                     string
	}{
		{"no page", "GET", "", "", false, ""},
		{"a page", "GET", "https://a.example", "", false, ""},
		{"a question", "OPTIONS", "https://a.example", "authorization", true, o.Headers},
		{"other headers", "OPTIONS", "null", "X-Trace-Id, Content-Type", true, o.Headers + ", x-trace-id"},
		{"no headers", "OPTIONS", "https://a.example", "a\r\nb, c:d, ,é", true, o.Headers},
		{"too many", "OPTIONS", "https://a.example", strings.Repeat("a,", headersAskable), true, o.Headers},
	} {
		r := httptest.NewRequest(tc.method, "/", nil)
		r.Header.Set("Origin", tc.origin)
		r.Header.Set("Access-Control-Request-Headers", tc.asked)
		h := http.Header{}
		if got := o.Allow(h, r); got != tc.preflight || h.Get("Access-Control-Allow-Origin") != tc.origin || h.Get("Access-Control-Allow-Headers") != tc.allowed {
			t.Errorf("%s: %v %v", tc.name, got, h)
		}
	}
}

func TestProblems(t *testing.T) {
	e := code.Invalid("user.name", "is required")
	p := ProblemOf(e, "id")
	if p.Title != "Bad request." || !strings.HasSuffix(p.Type, "#"+string(e.Code)) || p.Where != "id" || len(p.Invalid) != 1 ||
		p.Invalid[0] != (InvalidParameter{"user.name", `"name" is required`}) {
		t.Errorf("%+v", p)
	}
	if got := title(code.ConversationNotFound); got != "Not found." {
		t.Errorf("title %q", got)
	}
	if got := Reason(code.Field{Name: "x", Reason: `"x" is not allowed`}); got != `"x" is not allowed` {
		t.Errorf("reason %q", got)
	}
	for _, tc := range []struct {
		err   error
		want  code.Code
		fault bool
	}{
		{fmt.Errorf("wrapped: %w", code.New(code.Permission, "no")), code.Permission, false},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), code.Unavailable, false},
		{errors.New("disk"), code.Internal, true},
	} {
		if e, fault := Coded(tc.err); e.Code != tc.want || fault != tc.fault || strings.Contains(e.Message, "disk") {
			t.Errorf("%v is told as %v, %v", tc.err, e, fault)
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, tc := range []struct {
		wait   time.Duration
		status int
		want   string
	}{{0, 404, ""}, {0, 503, "1"}, {1200 * time.Millisecond, 429, "2"}, {time.Millisecond, 503, "1"}} {
		h := http.Header{}
		SetRetryAfter(h, &code.Error{RetryAfter: tc.wait}, tc.status)
		if got := h.Get("Retry-After"); got != tc.want {
			t.Errorf("%v, %d: %q", tc.wait, tc.status, got)
		}
	}
}

func TestAskers(t *testing.T) {
	for header, want := range map[string]string{
		"": "missing", "Basic x": "invalid", "Bearer  a.b.c ": "a.b.c", "bearer a.b.c": "a.b.c", "Bearer": "",
	} {
		r := httptest.NewRequest("GET", "/?token=x", nil)
		r.Header.Set("Authorization", header)
		token, err := BearerToken(r)
		switch {
		case code.Has(err, code.MissingToken):
			token = "missing"
		case code.Has(err, code.InvalidToken):
			token = "invalid"
		}
		if token != want {
			t.Errorf("%q gives %q", header, token)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Forwarded-For", "192.0.2.9")
	r.RemoteAddr = "192.0.2.1:99"
	if got := RemoteAddress(r); got != "192.0.2.1" {
		t.Errorf("asked by %s", got)
	}
	r.RemoteAddr = "@"
	if got := RemoteAddress(r); got != "@" {
		t.Errorf("asked by %s", got)
	}
	if a, b := NewRequestID(), NewRequestID(); len(a) != 32 || a == b {
		t.Errorf("%s, %s", a, b)
	}
}
