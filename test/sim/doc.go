// Package sim runs a node's real code in one goroutine under a seeded scheduler: the store loop,
// the log writer, the applier, the grain shells, the outbox queues, the fan-out and the hub, over a real
// Pebble on a disk that can lose what was not synced. The scheduler alone decides what happens
// next, so orders that a running node shows once a year come up every second here. What clients
// on simulated connections and edges saw is then held against the promises of package history and of
// rules.go. Connections lose frames with every crash, hang-up and overflow, and resume by sequence.
//
// Package cluster below it does the same with whole clusters, among faults of every kind.
package sim
