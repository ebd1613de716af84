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

// Check runs a costly check in builds with the race detector or the tag parley_invariants, and
// is compiled away in others.
func Check(check func() error) {
	if !Enabled {
		return
	}
	if err := check(); err != nil {
		panic("invariant broken: " + err.Error())
	}
}
