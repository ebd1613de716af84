// Package sim runs a node's real code in one goroutine under a seeded scheduler: the store loop,
// the log writer, the applier, the grain shells, the outbox queues and the fan-out, over a real
// Pebble on a disk that can lose what was not synced. The scheduler alone decides what happens
// next, so orders that a running node shows once a year come up every second here. What clients
// and edges saw is then held against the promises of package history.
package sim
