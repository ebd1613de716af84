package socket

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestSpread: so many take so long, the last no later than they should, and none of the rest after the end.
func TestSpread(t *testing.T) {
	const over = 3 * time.Second
	for name, tc := range map[string]struct {
		count      int
		within     time.Duration // of the context; 0 = for ever
		most       int           // in any tenth of a second
		atLeast    time.Duration // from the first to the last
		noLater    time.Duration
		endedEarly bool // the context ends in the first call
	}{
		"a few":             {count: 40, most: 11, atLeast: 300 * time.Millisecond, noLater: over},
		"many":              {count: 10_000, most: 374, atLeast: over * 9 / 10, noLater: over},
		"with little time":  {count: 10_000, within: 2 * time.Second, most: 1100, atLeast: 900 * time.Millisecond, noLater: time.Second},
		"with none at all":  {count: 50, within: time.Nanosecond, most: 50, noLater: 0},
		"nobody":            {},
		"at the end of ctx": {count: 1000, most: 4, endedEarly: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.within > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), tc.within)
					defer cancel()
				}
				began, last, tenths := time.Now(), time.Duration(0), map[time.Duration]int{}
				called := 0
				Spread(ctx, make([]int, tc.count), over, func(int) {
					called++
					last = time.Since(began)
					tenths[last/(100*time.Millisecond)]++
					if tc.endedEarly {
						cancel()
					}
				})
				for at, n := range tenths {
					if n > tc.most {
						t.Errorf("%d in tenth %d", n, at)
					}
				}
				if !tc.endedEarly && called != tc.count || last < tc.atLeast || last > tc.noLater {
					t.Errorf("%d of %d, the last after %v", called, tc.count, last)
				}
			})
		})
	}
}
