// Package grain runs one entity: a shell that is a step function, round a machine that is pure.
// The shell owns the batch in flight, the outcomes and the order; the machine knows the product.
package grain

import (
	nodev1 "parley/proto/node/v1"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// Entity says which thing a machine is about.
type Entity struct {
	Shard       keys.Shard
	Kind        nodev1.Kind
	Application string // bare UUID
	ID          string // with its prefix; a name for KIND_NAME
}

// Machine is the pure heart of one entity. It sees the rows that the waiting commands name, never
// the whole entity. A machine whose batch was not committed is thrown away, so nothing is ever
// rolled back. It is used by one goroutine at a time, and has no clock, no randomness and no I/O
// outside Load.
type Machine interface {
	// Load reads what cmd needs and the view lacks: the entity's metadata and head the first
	// time, then the member, dedup, event and name rows that cmd names. revision is the
	// entity's, from the head row that the shell has read (0 = none yet); head is the kind's
	// own part of that row. After an error nothing counts as read, and the shell says of whom it is.
	// Nothing is decided on rows of a later revision: then the machine is thrown away.
	Load(r store.Reader, revision uint64, head []byte, cmd *nodev1.Command) error

	// Decide says what follows from cmd, or why nothing may (a *code.Error). It changes nothing.
	// now is Unix milliseconds of the leader's clock.
	Decide(now int64, cmd *nodev1.Command) (Decision, error)

	// Evolve folds a decision into the view: the next command of the same batch sees it.
	Evolve(d Decision)

	// Head is the kind's own part of the head row, after all that was evolved.
	Head() []byte

	// Settle is called when the batch has been committed: rows kept only for it may go, so that
	// an idle entity stays small.
	Settle()
}

// Decision is what a command leads to. Without ops and outbox rows nothing is proposed: then the
// reply leaves after a ReadIndex of the same epoch, or at once when Proven is set.
type Decision struct {
	Changes any                 // what Evolve folds in; the machine's own type
	Ops     []store.Op          // rows to put or delete; not the head row
	Outbox  []*nodev1.OutboxRow // the shell fills source revision and key
	Reply   *nodev1.Reply
	Fanout  []*nodev1.Fanout // leaves after the commit, in this order
	Proven  bool             // applied state proves the reply: a duplicate
}

// Writes says whether the decision must be proposed.
func (d *Decision) Writes() bool { return len(d.Ops) > 0 || len(d.Outbox) > 0 }
