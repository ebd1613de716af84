package grain

import (
	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// Input is one thing that happens to a Shell: Arrived, Committed, Confirmed or Ended.
type Input interface{ input() }

// Arrived is a command. Respond is handed back in exactly one Answer.
type Arrived struct {
	Command *nodev1.Command
	Respond func(*nodev1.GrainReply)
}

// Committed is the outcome of the Propose in flight: nil, or one of the errors of package shard.
type Committed struct{ Err error }

// Confirmed is the outcome of the Confirm in flight: at Epoch this node was leader after the
// Confirm was asked for, or Err says why that could not be shown.
type Confirmed struct {
	Epoch shard.Epoch
	Err   error
}

// Ended says that the term is over or the grain is passivated: the Shell answers all that waits
// and does nothing more.
type Ended struct{}

func (Arrived) input()   {}
func (Committed) input() {}
func (Confirmed) input() {}
func (Ended) input()     {}

// Output is one thing that a Shell asks for: Propose, Confirm, Answer, Broadcast, Posted or Halt.
// Outputs of one Step are carried out in order.
type Output interface{ output() }

// Propose asks for the write to be proposed in the shell's epoch; Committed brings the outcome.
// There is never more than one in flight.
type Propose struct{ Write shard.Write }

// Confirm asks for a ReadIndex; Confirmed brings the outcome. Never more than one in flight.
type Confirm struct{}

// Answer is the one reply to an Arrived.
type Answer struct {
	Respond func(*nodev1.GrainReply)
	Reply   *nodev1.GrainReply
}

// Broadcast hands over what edges must hear, after its commit, in order.
type Broadcast struct{ Items []*nodev1.Fanout }

// Posted hands over the outbox rows of a committed batch, so that nobody has to look for them.
type Posted struct{ Rows []Row }

// Halt asks to be stopped: the outcome of a write is unknown, so the shell decides nothing more
// in this epoch. It answers NotLeader until it is stopped.
type Halt struct{}

func (Propose) output()   {}
func (Confirm) output()   {}
func (Answer) output()    {}
func (Broadcast) output() {}
func (Posted) output()    {}
func (Halt) output()      {}

// Row is an outbox row with its key, as committed.
type Row struct {
	Key    []byte
	Target keys.Shard
	Row    *nodev1.OutboxRow
}
