package media_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"parley/edge/limit"
	"parley/edge/media"
	"parley/edge/media/sample"
	"parley/proto/id"
)

// stumbling is an object store with a bug.
type stumbling struct{ media.Objects }

// Get implements media.Objects.
func (stumbling) Get(context.Context, string) (io.ReadCloser, error) { panic("index out of range [7]") }

// TestAPanicIsOurs: whoever asks hears that something went wrong with us, and no more; the log has it under
// the same name, and it is counted. The next request finds a node that works.
func TestAPanicIsOurs(t *testing.T) {
	w, _, _ := moodyWorld(t, settings{})
	up := w.upload(w.as("ann"), sample.PNG(t, 20, 20)).image()
	well := w.handler.Objects
	w.handler.Objects = stumbling{well}
	a := w.call("GET", up.Original.URL, w.as("bob")).refused(500, "system:error:internal-error")
	if strings.Contains(string(a.raw), "range") {
		t.Errorf("the answer tells of it: %s", a.raw)
	}
	w.handler.Objects = well
	if text := w.log.String(); !strings.Contains(text, "index out of range [7]") || !strings.Contains(text, "goroutine") {
		t.Errorf("the log has no cause: %s", text)
	}
	families, err := w.metrics.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "parley_edge_media_panics_total" && f.GetMetric()[0].GetCounter().GetValue() != 1 {
			t.Errorf("%v panics are counted", f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	w.call("GET", up.Original.URL, w.as("bob")).want(200)
}

// TestIdempotencyKeysAreBounded, because they are stored.
func TestIdempotencyKeysAreBounded(t *testing.T) {
	w := newWorld(t, settings{limits: generous})
	for key, status := range map[string]int{strings.Repeat("k", 128): 200, strings.Repeat("k", 129): 400, "caf\xe9": 400, "a\tb": 400} {
		kind, body := form(t, field{"file", string(sample.PNG(t, 4, 4))})
		a := w.do(request{method: "POST", path: "/v1/image", token: w.as("ann"), kind: kind, body: body, header: map[string]string{"Idempotency-Key": key}})
		if a.status != status || status == 400 && !strings.Contains(string(a.raw), "Idempotency-Key") {
			t.Errorf("%q: status %d, %s", key, a.status, a.raw)
		}
	}
}

// TestWhoGuessesTokensIsRefusedUnread, also with a good one.
func TestWhoGuessesTokensIsRefusedUnread(t *testing.T) {
	w := newWorld(t, settings{limits: func(o *limit.Options) { o.Rates[limit.Guess] = limit.Rate{PerSecond: 0.001, Burst: 2} }})
	unknown := "/v1/image/" + id.New(id.Image)
	for _, want := range []int{401, 401, 429} {
		w.call("GET", unknown, "x.y.z").want(want)
	}
	w.call("GET", unknown, w.as("ann")).refused(http.StatusTooManyRequests, "http:error:too-many-requests")
}

// TestUrlsFollowTheProxy: they begin as the client's own request did, if a proxy says how, and with nothing
// else that it says.
func TestUrlsFollowTheProxy(t *testing.T) {
	w := newWorld(t, settings{limits: generous})
	for said, want := range map[string]string{"": "http://", "https": "https://", "HTTPS , http": "https://", "gopher": "http://", `"><script>`: "http://"} {
		kind, body := form(t, field{"file", string(sample.PNG(t, 4, 4))})
		up := w.do(request{method: "POST", path: "/v1/image", token: w.as("ann"), kind: kind, body: body, header: map[string]string{"X-Forwarded-Proto": said}}).image()
		for _, url := range up.urls() {
			if !strings.HasPrefix(url, want) || strings.Contains(url, "script") {
				t.Errorf("%q: %s", said, url)
			}
		}
	}
}
