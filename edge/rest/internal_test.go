package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"parley/edge/web"
	"parley/proto/code"
)

func newBare(t testing.TB) *Handler {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &Handler{options: DefaultOptions(), metrics: m}
}

// Every error becomes a code and a status; what has no code never reaches the client.
func TestRefusals(t *testing.T) {
	late := code.New(code.RateLimited, "slow down")
	late.RetryAfter = 1500 * time.Millisecond
	for name, tc := range map[string]struct {
		err    error
		key    string
		status int
		retry  string
		want   string // in the answer
	}{
		"plain":           {errors.New("secret cause"), "", 500, "", "system:error:internal-error"},
		"deadline":        {fmt.Errorf("ask: %w", context.DeadlineExceeded), "", 503, "1", "system:error:unavailable"},
		"wrapped":         {fmt.Errorf("ask: %w", code.New(code.UserNotFound, "no user")), "", 404, "", "user:error:not-found"},
		"advice":          {late, "", 429, "2", "slow down"},
		"unknown, no key": {code.New(code.Unknown, "x"), "", 503, "1", "had no Idempotency-Key"},
		"unknown, key":    {code.New(code.Unknown, "x"), "k", 503, "1", "again with the same Idempotency-Key"},
		"unavailable":     {code.New(code.Unavailable, "no leader"), "", 503, "1", "no leader"},
		"field":           {code.Invalid("a.b", "must be x"), "", 400, "", `\"b\" must be x`},
		"worded field":    {code.Invalid("a", `"z" must be x`), "", 400, "", `"reason":"\"z\" must be x"`},
	} {
		w := httptest.NewRecorder()
		a := &answer{Writer: web.NewWriter(w)}
		newBare(t).refuse(a, &call{generation: v1, key: tc.key, id: "i"}, tc.err)
		if w.Code != tc.status || w.Header().Get("Retry-After") != tc.retry || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: %d, retry %q: %s", name, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: the cause is told", name)
		}
	}
}

func TestPanicIsAnsweredAndCounted(t *testing.T) {
	h := newBare(t)
	w := httptest.NewRecorder()
	func() {
		a := &answer{Writer: web.NewWriter(w)}
		defer h.finish(a, &call{generation: v1, request: httptest.NewRequest("GET", "/v1/users", nil)}, time.Now())
		panic("secret cause")
	}()
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := testutil.ToFloat64(h.metrics.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}

func TestCursorsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{position: rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "position"), backward: rapid.Bool().Draw(t, "backward")}
		got, ok := parseCursor(c.String())
		if !ok || !bytes.Equal(got.position, c.position) || got.backward != c.backward {
			t.Fatalf("%v came back as %v, %v", c, got, ok)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add("EA")
	f.Add("EA0\n") // base64 passes over the ends of lines
	f.Add(cursor{position: []byte("x")}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := parseCursor(s); ok && c.String() != s {
			t.Errorf("%q is read as %q", s, c.String())
		}
	})
}

// A path that is found has no segment that could be read in two ways.
func FuzzCleanPaths(f *testing.F) {
	for _, s := range []string{"/v1/users", "/v1/users/%2e%2e", "//", "/%2f", "/a%00", "/%c0%ae", "/v1/users/a%20b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		segments, ok := clean(escaped)
		if !ok {
			return
		}
		for i, s := range segments {
			if raw := strings.Split(escaped, "/")[i+1]; s == "" || raw == "." || raw == ".." || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("%q has the segment %q", escaped, s)
			}
		}
		if n := strings.Count(place{segments: segments}.path(), "/"); n != len(segments) {
			t.Errorf("%q has %d segments, and passes for %d", escaped, len(segments), n)
		}
	})
}

// Whatever the body, it is an object or a coded refusal; and a form is the same as its JSON.
func FuzzReadInput(f *testing.F) {
	f.Add("application/json", `{"a":{"b":1}}`)
	f.Add("application/x-www-form-urlencoded", "a.b=1&a.c=2&d=3&d=4")
	f.Add("application/x-www-form-urlencoded", "a=1&a.b=2")
	f.Add("", `{"a":`)
	f.Add("text/plain", "x")
	o := DefaultOptions()
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := httptest.NewRequest("POST", "/v1/users", nil)
		r.Header.Set("Content-Type", kind)
		c := &call{request: r, generation: v1}
		in, err := readInput(c, []byte(body), &o)
		if err != nil {
			if _, ok := code.Of(err); !ok {
				t.Errorf("refusal without a code: %v", err)
			}
			return
		}
		for name, raw := range in.members {
			if !json.Valid(raw) {
				t.Errorf("member %q is no JSON: %q", name, raw)
			}
			in.text(name, 10)
			in.number(name)
			in.object(name)
			in.moment(name)
			in.flag(name)
		}
		in.closed()
	})
}

// A page taken backwards is the page that was before it.
func TestSessionsPages(t *testing.T) {
	ids := []string{"e", "b", "a", "d", "c"}
	take := func(p paging) string {
		r := sessionsPage(ids, p)
		if p.cursor.backward {
			reverse(r)
		}
		return string(bytes.Join(r.Positions, nil))
	}
	for _, tc := range []struct {
		p    paging
		want string
	}{
		{paging{size: 2}, "ab"},
		{paging{size: 2, cursor: cursor{position: []byte("b")}}, "cd"},
		{paging{size: 2, cursor: cursor{position: []byte("e")}}, ""},
		{paging{size: 2, descending: true}, "ed"},
		{paging{size: 2, cursor: cursor{position: []byte("c"), backward: true}}, "ab"},
		{paging{size: 9, descending: true, cursor: cursor{position: []byte("c"), backward: true}}, "ed"},
	} {
		if got := take(tc.p); got != tc.want {
			t.Errorf("%+v gives %q, want %q", tc.p, got, tc.want)
		}
	}
	if r := sessionsPage(nil, paging{size: 2}); len(r.Positions) != 0 || r.Next != nil {
		t.Errorf("nobody: %v", r)
	}
}

// A list that can not be read to its end is cut, and never looks whole.
func TestStreamIsCut(t *testing.T) {
	h := newBare(t)
	w := httptest.NewRecorder()
	steps := [][]any{{1, 2}, {3}}
	reply, err := streamed(t.Context(), func(context.Context) ([]any, bool, error) {
		if len(steps) == 0 {
			return nil, false, errors.New("secret cause")
		}
		step := steps[0]
		steps = steps[1:]
		return step, true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if cause := recover(); cause != http.ErrAbortHandler {
				t.Errorf("ended with %v", cause)
			}
		}()
		a := &answer{Writer: web.NewWriter(w)}
		c := &call{generation: beta, operation: &operation{generation: beta, status: ok}, writer: w, request: httptest.NewRequest("GET", "/beta/x", nil)}
		defer h.finish(a, c, time.Now())
		h.reply(a, c, reply)
	}()
	if got := strings.ReplaceAll(w.Body.String(), "\n", ""); got != "[1,2,3" {
		t.Errorf("sent %q", got)
	}
	if n := testutil.ToFloat64(h.metrics.cut); n != 1 {
		t.Errorf("%v cuts counted", n)
	}
	if n := testutil.ToFloat64(h.metrics.panics); n != 0 {
		t.Errorf("%v panics counted", n)
	}
}

// What is refused at the first step is refused with its code, and a short list needs no stream.
func TestStreamBegins(t *testing.T) {
	refusal := code.New(code.ConversationNotFound, "no")
	if _, err := streamed(t.Context(), func(context.Context) ([]any, bool, error) { return nil, false, refusal }); !errors.Is(err, refusal) {
		t.Errorf("refused with %v", err)
	}
	steps := 0
	reply, err := streamed(t.Context(), func(context.Context) ([]any, bool, error) {
		steps++
		return nil, steps < 3, nil
	})
	if list, isList := reply.([]any); err != nil || !isList || len(list) != 0 || steps != 3 {
		t.Errorf("%v, %v after %d steps", reply, err, steps)
	}
}

func TestCommonTypes(t *testing.T) {
	for _, tc := range []struct{ asked, group, want string }{
		{"", "a,b:*", "a,b:*"},
		{"a,c", "a,b:*", "a"},
		{"b:x,b:*", "b:*", "b:x,b:*"},
		{"*", "a,b:*", "a,b:*"},
		{"b*", "a,b:*", "b:*"},
		{"b:x*", "b:*", "b:x*"},
		{"c", "a,b:*", noType},
	} {
		var asked []string
		if tc.asked != "" {
			asked = strings.Split(tc.asked, ",")
		}
		if got := strings.Join(common(asked, strings.Split(tc.group, ",")), ","); got != tc.want {
			t.Errorf("%s and %s have %s in common, want %s", tc.asked, tc.group, got, tc.want)
		}
	}
}

// What two lists have in common lets pass what both let pass.
func TestCommonTypesAreTheIntersection(t *testing.T) {
	passes := func(list []string, kind string) bool {
		for _, one := range list {
			if begins, glob := strings.CutSuffix(one, "*"); one == kind || glob && strings.HasPrefix(kind, begins) {
				return true
			}
		}
		return false
	}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.StringMatching(`[ab:]{0,3}\*?`).Filter(func(s string) bool { return s != "" }), 1, 4)
		asked, group := list.Draw(t, "asked"), list.Draw(t, "group")
		kind := rapid.StringMatching(`[ab:]{1,4}`).Draw(t, "kind")
		if both := common(asked, group); passes(both, kind) != (passes(asked, kind) && passes(group, kind)) {
			t.Fatalf("%v and %v give %v for %q", asked, group, both, kind)
		}
	})
}
