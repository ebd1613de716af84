package system

import (
	"time"

	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// Activation is one identity in one epoch. Its methods are called one at a time, from the grain's
// mailbox; they must not block. A panic ends the activation without Stop: everything it had not
// answered is answered "unknown outcome", and the next request makes a new one.
type Activation interface {
	// Receive takes a command. respond must be called exactly once, now or later, from any
	// goroutine; a second call is ignored. The request is shared: read only.
	Receive(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply))
	// Wake takes what was posted, in the order of posting.
	Wake(msg any)
	// Idle says that the activation may be passivated now: nothing is in flight.
	Idle() bool
	// Abandon is called after a panic, instead of Stop: what the activation knows may be wrong. No
	// call follows.
	Abandon()
	// Stop ends the activation, because its epoch ended or it is passivated: answer all that
	// waits, not-leader if it surely has not happened, unknown otherwise. No call follows.
	Stop()
}

// Identity names an activation.
type Identity struct {
	Kind        nodev1.Kind
	Application string
	ID          string
	Shard       keys.Shard
	Epoch       shard.Epoch // every write of the activation carries it
}

// Kind is one kind of grain that this node can host.
type Kind struct {
	Kind nodev1.Kind
	Name string // for logs and metrics
	// Activate makes an activation. post hands a message to its Wake: from any goroutine, in
	// order, never blocking; after the activation's end it does nothing. Activate must not block.
	Activate func(id Identity, post func(msg any)) Activation
	// PassivateAfter is how long a grain without requests stays in memory, rounded up to
	// whole Options.PassivateTick; 0 = until its epoch ends.
	PassivateAfter time.Duration
}

// Querier reads. It is called on the leader's node for every query of its shards, on goroutines of the caller
// or of the network: it must not block, and respond exactly once, now or later, from any
// goroutine. The request is shared: read only.
type Querier func(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply))
