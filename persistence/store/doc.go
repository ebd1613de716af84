// Package store is one node's disk: two Pebbles under one directory.
//
// The Pebble `log` holds what must survive the moment it is acknowledged: Raft entries, votes
// and the identity of the store. It has a write-ahead log and is written with Sync. The Pebble
// `state` holds what applying those entries led to. It has no write-ahead log: after a crash it
// is a prefix of what was applied, and the log replays the rest, from the applied index that
// stands in the same batch as its effects.
//
// Three rules follow, and the package keeps them. A failed sync is never retried: Options.Fatal
// is called and the caller of the sync never hears of it. What reached the disk is asked with
// DurableApplied, never with a live read. Damage is an error that names the directory and the
// remedy, never an absent key and never an end of file.
package store
