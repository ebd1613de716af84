// Package cluster runs a whole cluster in one goroutine under a seeded scheduler with a clock of its
// own: three to five nodes, each with a real Pebble on a disk that loses what was not synced, the
// real store loop, log writer and applier of its shards, grain shells with the machines of
// conversations, users, names and the placement, outbox queues, fan-out, directory, the hub of its
// edge, and the steps of the placement driver; and clients that send, retry, read, subscribe and
// come back, and tell how far they have read, alone or, as an edge does it, many together; one conversation
// is large enough for that. Between them stands a network that loses, doubles, delays and reorders, is cut in both
// directions or in one, and nodes that crash, restart, pause, jump in time, have slow and stalled
// disks, or full ones, join, drain and leave, hear wrong rumours of each other, get a driver's orders a second time,
// and have grains that panic with a write in flight.
//
// What clients saw is a history, which package history judges. Then the faults end, and within a
// bounded time everything must have its answer, every subscription must be at the head, every shard
// must have all its replicas, and every replica must read the same.
//
// A seed gives the same run every time, so a power cut loses exactly what was not synced; cuts that
// tear what was being written are the business of package sim and of the storms in cluster/shard.
//
// Simulated at their interface, because they are goroutines round others' code: the calls between
// nodes (actors/system: at most once, in order, repeated by the caller until an answer says no),
// gossip (cluster/membership: who was heard lately), the beats of the Raft connections
// (cluster/transport) and the loop of the driver (actors/driver: its steps run one after the
// other). Not simulated: nodes follow the meta shard by their replica of it alone, and clients'
// sessions, tokens, images and webhooks are left to the tests of their packages.
package cluster
