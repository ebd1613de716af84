package socket

import (
	"context"
	"time"
)

// spreadSlice is how finely Spread cuts time.
const spreadSlice = 10 * time.Millisecond

// Spread calls f for each of a list, evenly over a time: clients that are sent away come to the other
// nodes one after another and not all at once. It takes no more than half of what ctx leaves, so that there
// is time for the answers, and stops when ctx ends.
func Spread[T any](ctx context.Context, list []T, over time.Duration, f func(T)) {
	if deadline, ok := ctx.Deadline(); ok {
		const part = 2
		over = min(over, max(time.Until(deadline), 0)/part)
	}
	perSlice := len(list)/(int(over/spreadSlice)+1) + 1
	ticker := time.NewTicker(spreadSlice)
	defer ticker.Stop()
	for {
		n := min(perSlice, len(list))
		for _, one := range list[:n] {
			f(one)
		}
		if list = list[n:]; len(list) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
