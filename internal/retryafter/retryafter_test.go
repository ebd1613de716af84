package retryafter_test

import (
	"net/http"
	"testing"
	"time"

	"parley/internal/retryafter"
)

func TestRead(t *testing.T) {
	const longest = 10 * time.Minute
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, " 5 ": 5 * time.Second, "0": 0, "-1": 0, "soon": 0, "1e3": 0,
		"999999999": longest, "99999999999999999999": longest,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.AddDate(1, 0, 0).Format(http.TimeFormat):      longest,
	} {
		if got := retryafter.Read(http.Header{"Retry-After": {text}}, now, longest); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := retryafter.Read(http.Header{}, now, longest); got != 0 {
		t.Errorf("without the header: %s", got)
	}
}

// TestWrite: who comes when the header says is not too early.
func TestWrite(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60",
	} {
		h := http.Header{}
		if retryafter.Write(h, wait); h.Get("Retry-After") != want {
			t.Errorf("%s: %q, want %q", wait, h.Get("Retry-After"), want)
		}
	}
}
