package socketio

import "sync/atomic"

// phase is how far a session is.
//
//	gated ──the login is answered──▶ open ──▶ over
//
// Gated events wait: the answer to the login must be the first event that a client sees.
type phase int32

const (
	gated phase = iota
	open
	over
)

// phases holds the phase of a session. The zero phases are gated.
type phases struct{ now atomic.Int32 }

func (p *phases) is(q phase) bool { return phase(p.now.Load()) == q }

// become changes the phase, and gives the one before.
func (p *phases) become(q phase) (before phase) { return phase(p.now.Swap(int32(q))) }
