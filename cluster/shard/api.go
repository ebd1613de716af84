// Package shard replicates shards: one Raft group each, all of a node's groups driven by one
// store loop. Above it stand actors, which propose; below it the store, which keeps.
package shard

import (
	"errors"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// Epoch is the Raft term in which an activation may write. Every write carries it.
type Epoch uint64

// ReplicaID names one replica of one shard for ever; it is the Raft id, and never reused.
type ReplicaID uint64

// Lead says who leads a shard, as this node knows it.
type Lead struct {
	Shard keys.Shard
	Node  string // node name, "" = unknown
	Epoch Epoch
	Local bool // this node leads
	// Ready is set once this leader has applied its own term's empty entry: only then may
	// activations of this epoch exist (invariant I7).
	Ready bool
}

// The outcomes of a proposal and the reasons of a refusal. ErrUnknown alone means that the write
// may still happen; after every other error it surely has not and will not.
var (
	ErrUnknown    = errors.New("outcome unknown")             // perhaps in the log
	ErrNotLeader  = errors.New("not the leader")              // never proposed
	ErrStale      = errors.New("stale epoch or revision")     // refused when applied
	ErrOverloaded = errors.New("too much waits for a quorum") // never proposed; try later
	ErrTooLarge   = errors.New("write is over the limit")
	ErrClosed     = errors.New("host is closed")
	ErrNoReplica  = errors.New("no replica of this shard here")
)

// Write is one batch of changes of one entity. Apply refuses it on every replica unless the
// epoch is the entry's term and Base is the entity's revision (invariant I7); then the ops, the
// new head row and the applied index become visible and durable together.
type Write struct {
	Entity []byte // the entity's head key (keys.Head)
	Base   uint64 // revision before; 0 = the entity has none yet. Revision after is Base+1
	Head   []byte // the kind's own part of the head row, after the revision
	Ops    []store.Op
}

// Proposal hands a Write to a shard's leader on this node.
type Proposal struct {
	Shard keys.Shard
	Epoch Epoch
	Write Write
	// Done is called exactly once, from a goroutine of the host: nil after the write is durable
	// on a quorum and applied here, else one of the errors above. It must not block.
	Done func(error)
}

// Observer hears what activations must know. Calls come from the store loop in order: they
// must not block.
type Observer interface {
	// LeadChanged is called at every change of leader, epoch or readiness of a shard with a
	// replica here.
	LeadChanged(Lead)
}
