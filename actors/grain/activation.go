package grain

import (
	"sync/atomic"

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

// Listener hears what committed. Calls come from the activation's mailbox, in order, Missed from any
// goroutine: they must not block.
type Listener interface {
	// Broadcast hands over what the edges must hear.
	Broadcast(s keys.Shard, items []*nodev1.Fanout)
	// Posted hands over outbox rows.
	Posted(s keys.Shard, rows []Row)
	// Missed tells that a write was committed whose outbox rows and items will not be handed over,
	// because the activation broke: both have to be looked up.
	Missed(s keys.Shard)
}

// Setting is what all activations of a node share.
type Setting struct {
	Host     Host
	Listener Listener
	Now      func() int64 // Unix milliseconds
	// Sinks says which sinks an application has, as bits of nodev1.Sink. It is asked for each command
	// to a conversation and must not block. nil = none.
	Sinks   func(application string) uint32
	Options Options
	Metrics *Metrics
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

	// untold: so many writes were committed of which the shell has not carried out what follows; two,
	// when the next is committed before the step that proposed it is over. abandoned: it never will.
	// Whoever sets the second of the two tells the listener.
	untold    atomic.Int32
	abandoned atomic.Bool
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
	a.step(Arrived{Command: a.withSinks(req.Command), Respond: respond})
}

// withSinks notes in a command which sinks the application has now, so that deciding needs to know
// nothing else. The command may be the caller's own, who may send it again: it is not changed.
func (a *Activation) withSinks(c *nodev1.Command) *nodev1.Command {
	sinks := uint32(0)
	if a.entity.Kind == nodev1.Kind_KIND_CONVERSATION && a.setting.Sinks != nil {
		sinks = a.setting.Sinks(a.entity.Application)
	}
	if sinks == c.Sinks {
		return c
	}
	return &nodev1.Command{Principal: c.Principal, ClientId: c.ClientId, Body: c.Body, Sinks: sinks}
}

// Wake takes what was posted.
func (a *Activation) Wake(msg any) {
	if in, ok := msg.(Input); ok && a.shell != nil {
		a.step(in)
		if c, ok := in.(Committed); ok && c.Err == nil {
			a.untold.Add(-1) // not when the step panicked
		}
	}
}

// Idle says that the activation may be passivated.
func (a *Activation) Idle() bool { return a.shell == nil || a.shell.Idle() }

// Abandon gives the activation up after a panic: its shell is not asked again.
func (a *Activation) Abandon() {
	a.abandoned.Store(true)
	if a.untold.Load() > 0 {
		a.setting.Listener.Missed(a.entity.Shard)
	}
}

// committed notes that the write in flight was committed.
func (a *Activation) committed() {
	a.untold.Add(1)
	if a.abandoned.Load() {
		a.setting.Listener.Missed(a.entity.Shard)
	}
}

// Stop answers all that waits.
func (a *Activation) Stop() {
	a.Abandon() // of a write in flight nobody will hear
	if a.shell != nil {
		a.step(Ended{})
	}
}

func (a *Activation) step(in Input) {
	outputs := a.shell.Step(a.setting.Now(), in)
	for _, out := range outputs {
		a.carryOut(out)
	}
	clear(outputs) // the last command and what came of it, which nobody may ask for until passivation
}

func (a *Activation) carryOut(out Output) {
	switch out := out.(type) {
	case Propose:
		a.setting.Host.Propose(shard.Proposal{Shard: a.entity.Shard, Epoch: a.epoch, Write: out.Write, Done: func(err error) {
			if err == nil {
				a.committed()
			}
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
