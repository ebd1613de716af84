package webhook

import (
	"context"
	"math/rand/v2"
	"time"
)

// job is one delivery on its way through a line.
type job struct {
	ctx   context.Context
	run   func(context.Context) verdict
	done  func(error)
	since time.Time // waits in its line
}

// health is what a job has seen of its host.
type health int

const (
	unasked health = iota
	working
	failing
)

// verdict is how a job ended.
type verdict struct {
	err   error
	host  health
	after time.Duration // the host asked to be left alone
}

// line is what one application has under way to one host. Its methods are called under the sink's
// lock and have no clock.
//
//	unknown ──success──▶ closed ──FailuresMax failures in a row──▶ open ──pause is over──▶ probing ──success──▶ closed
//	   └─────────────────FailuresMax failures in a row──────────────▲ ◀──────────failure─────┘   (the pause doubles)
//
// A host that has not answered yet is asked once at a time, as one that is probed: whoever has a dead host for
// a hundred conversations must not hold back what these places could do for others.
type line struct {
	name    string
	flying  int
	waiting []job
	known   bool      // the host has answered
	askedAt time.Time // when the first of those that are flying was sent

	failures int // in a row
	openTill time.Time
	pause    time.Duration
	probing  bool
}

// admit says whether a delivery may be tried now, else how long to wait.
func (l *line) admit(now time.Time, o *Options) (ok bool, after time.Duration) {
	switch {
	case now.Before(l.openTill):
		return false, spread(l.openTill.Sub(now))
	case !l.known && l.flying > 0:
		return false, spread(max(askAgain, now.Sub(l.askedAt)))
	case l.failures < o.FailuresMax:
		return true, 0
	case l.probing:
		return false, spread(o.Timeout / 2)
	}
	l.probing = true
	return true, 0
}

const (
	// askAgain is when a delivery comes back, at the earliest, that finds another one asking a host which has
	// not answered yet: an answer usually takes less. The longer it takes the later they come.
	askAgain = 200 * time.Millisecond
	// waitMax is how long a delivery waits for its turn at a host that has as many under way as it may: in the
	// meantime it keeps its place in the outbox from others.
	waitMax = time.Second
)

// spread is up to a half longer, so that what waits for one host does not come back at once.
func spread(d time.Duration) time.Duration { return d + time.Duration(rand.Int64N(int64(d)/2+1)) }

// ended takes the outcome of a delivery. What was under way when the line opened says nothing new.
func (l *line) ended(now time.Time, v verdict, o *Options) {
	switch {
	case v.host == unasked:
		l.probing = false
		return
	case v.host == working:
		l.known = true
		l.failures, l.pause, l.probing, l.openTill = 0, 0, false, time.Time{}
		return
	case now.Before(l.openTill):
		return
	}
	l.failures++
	l.probing = false
	if l.failures >= o.FailuresMax {
		l.pause = min(max(2*l.pause, o.PauseMin), o.PauseMax)
	}
	l.openTill = now.Add(max(l.pause, v.after))
}

// idle says that nothing is under way.
func (l *line) idle() bool { return l.flying == 0 && len(l.waiting) == 0 }
