//go:build race

package spent

// slower is how much more processor time the race detector takes.
const slower = 10
