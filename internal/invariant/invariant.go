// Package invariant states what must be true. A broken invariant is a bug in Parley, never bad
// input: it panics, which stops the shard or the actor before wrong state can spread.
package invariant

import "fmt"

// That panics unless condition holds. It stays in production builds, so the condition must be cheap.
func That(condition bool, format string, args ...any) {
	if !condition {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
