package grain

import (
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Host is what an activation needs of the node's shards.
type Host interface {
	Propose(shard.Proposal)
	ReadIndex(s keys.Shard, done func(shard.Epoch, error))
	Reader() store.Reader
}

// Listener hears what committed. Calls come from the activation's mailbox, in order: they must
// not block.
type Listener interface {
	// Broadcast hands over what the edges must hear.
	Broadcast(s keys.Shard, items []*nodev1.Fanout)
	// Posted hands over outbox rows.
	Posted(s keys.Shard, rows []Row)
}

// Setting is what all activations of a node share.
type Setting struct {
	Host     Host
	Listener Listener
	Now      func() int64 // Unix milliseconds
	Options  Options
	Metrics  *Metrics
}

// Activation carries out a Shell's outputs. Its methods are called one at a time, from the
// grain's mailbox; outcomes come back through post and Wake.
type Activation struct {
	entity  Entity
	epoch   shard.Epoch
	shell   *Shell // nil: no entity has this identity
	invalid error
	setting *Setting
	post    func(any)
}

// Activate makes the activation of an entity in one epoch.
func Activate(e Entity, epoch shard.Epoch, create func(Entity) Machine, s *Setting, post func(any)) *Activation {
	a := &Activation{entity: e, epoch: epoch, setting: s, post: post}
	o := s.Options
	o.Metrics = s.Metrics
	a.shell, a.invalid = NewShell(e, epoch, create, s.Host.Reader(), o)
	return a
}

// Receive takes one command; respond is called exactly once, now or later.
func (a *Activation) Receive(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	if a.invalid != nil || req.Command == nil {
		respond(refusal(a.epoch, code.New(code.NotFound, "no such thing: %q", a.entity.ID)))
		return
	}
	a.step(Arrived{Command: req.Command, Respond: respond})
}

// Wake takes what was posted.
func (a *Activation) Wake(msg any) {
	if in, ok := msg.(Input); ok && a.shell != nil {
		a.step(in)
	}
}

// Idle says that the activation may be passivated.
func (a *Activation) Idle() bool { return a.shell == nil || a.shell.Idle() }

// Stop answers all that waits.
func (a *Activation) Stop() {
	if a.shell != nil {
		a.step(Ended{})
	}
}

func (a *Activation) step(in Input) {
	for _, out := range a.shell.Step(a.setting.Now(), in) {
		a.carryOut(out)
	}
}

func (a *Activation) carryOut(out Output) {
	switch out := out.(type) {
	case Propose:
		a.setting.Host.Propose(shard.Proposal{Shard: a.entity.Shard, Epoch: a.epoch, Write: out.Write, Done: func(err error) {
			a.post(Committed{Err: err})
		}})
	case Confirm:
		a.setting.Host.ReadIndex(a.entity.Shard, func(epoch shard.Epoch, err error) {
			a.post(Confirmed{Epoch: epoch, Err: err})
		})
	case Posted:
		a.setting.Listener.Posted(a.entity.Shard, out.Rows)
	case Broadcast:
		a.setting.Listener.Broadcast(a.entity.Shard, out.Items)
	case Answer:
		out.Respond(out.Reply)
	case Halt:
		// The term is ending: the grain is stopped by whoever follows the leadership. Until
		// then the shell answers NotLeader.
	}
}
