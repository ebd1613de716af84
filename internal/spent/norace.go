//go:build !race

package spent

// slower is how much more processor time is allowed than in production.
const slower = 1
