package delivery

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLater(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "30": 30 * time.Second, "-5": 0, "99999999999": time.Hour, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0, "Sat, 03 Jan 2026 03:00:00 GMT": time.Hour,
	} {
		if f := Later(503, http.Header{"Retry-After": {text}}, now); f.RetryAfter != want || f.Verdict != Retry {
			t.Errorf("%q: %v", text, f.RetryAfter)
		}
	}
}

func TestOf(t *testing.T) {
	dead := Fail(Dead, "gone")
	if FailureOf(nil) != nil || FailureOf(dead) != dead || FailureOf(errors.New("x")).Verdict != Retry {
		t.Error("a failure is not what it was")
	}
}

func TestPostTellsNoAddress(t *testing.T) {
	o := DefaultClientOptions()
	c := NewClient(o, nil)
	defer c.CloseIdleConnections()
	for _, address := range []string{"http://127.0.0.1:1/secret", "http://a b/secret", "https://secret.invalid./secret"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err := Post(ctx, c, address, http.Header{}, nil)
		cancel()
		if err == nil || strings.Contains(err.Error(), "/secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestPostFollowsNothingAndReadsLittle(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Location", "/again")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = w.Write(make([]byte, 1<<20))
	}))
	defer server.Close()
	o := DefaultClientOptions()
	o.Timeout = time.Minute
	c := NewClient(o, nil)
	defer c.CloseIdleConnections()
	a, err := Post(t.Context(), c, server.URL, http.Header{}, []byte("x"))
	if err != nil || a.Status != http.StatusTemporaryRedirect || asked != 1 || len(a.Body) != answerBytesMax {
		t.Errorf("%d after %d requests, %d bytes, %v", a.Status, asked, len(a.Body), err)
	}
}

func TestKept(t *testing.T) {
	var dropped []string
	k := NewKept(2, func(s string) { dropped = append(dropped, s) })
	made := 0
	get := func(id string) string { return k.Get(id, func() string { made++; return id }) }
	for _, id := range []string{"a", "b", "a", "c", "c", "b", "a"} {
		if got := get(id); got != id {
			t.Errorf("%s gives %s", id, got)
		}
	}
	if made != 4 || !slices.Equal(dropped, []string{"a", "b"}) {
		t.Errorf("%d made, dropped %v", made, dropped)
	}
	k.Close()
	if len(dropped) != 4 {
		t.Errorf("dropped at the end: %v", dropped)
	}
}

func TestNoHost(t *testing.T) {
	missing := &net.DNSError{Err: "no such host", Name: "push.example", IsNotFound: true}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "dial", Err: missing}, true}, {&net.OpError{Op: "proxyconnect", Err: missing}, false},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}, false}, {errors.New("refused"), false},
	} {
		if f := unreached(&url.Error{Op: "Post", URL: "https://push.example/secret", Err: c.err}); f.NoHost != c.want || f.Verdict != Retry {
			t.Errorf("%v: %v, no host %v", c.err, f, f.NoHost)
		}
	}
}
