package stamp_test

import (
	"testing"
	"time"

	"parley/proto/stamp"
)

func TestOf(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 40_900_000, time.FixedZone("CET", 3600))
	for ms, want := range map[int64]string{
		0: "", 1: "1970-01-01T00:00:00.001Z", -1: "1969-12-31T23:59:59.999Z", at.UnixMilli(): "2026-03-01T12:00:00.040Z",
	} {
		if got := stamp.Of(ms); got != want {
			t.Errorf("%d: %q, want %q", ms, got, want)
		}
	}
}
