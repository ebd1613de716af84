// Package raftlog keeps the Raft logs of a node's replicas in its log Pebble: what each replica
// must not forget (entries, term, vote) and the rows that say how far it has applied.
//
// The package decides nothing and starts nothing. A Log is the raft.Storage of one replica and
// belongs to the goroutine that steps that replica; a Write is staged into a batch by whoever
// writes the disk; rows are encoded and decoded here and nowhere else.
package raftlog
