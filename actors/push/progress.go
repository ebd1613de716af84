package push

import (
	"fmt"
	"sync"
	"time"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// progress is how far a row has come. It is one attempt's alone.
type progress struct {
	walked bool   // all members have been looked at
	at     []byte // the position in the list of members to go on from

	mu   sync.Mutex // guards what follows
	owed []debt
	last error // of an attempt that failed for now
}

// debt is what is to be tried again: a device, or all devices of a user when they could not be read.
type debt struct {
	to        person
	device    *eventv1.Device // nil = all
	notBefore time.Time
}

func (p *progress) owe(d debt, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed, p.last = append(p.owed, d), err
}

// settle takes what is owed, to be tried now.
func (p *progress) settle() []debt {
	p.mu.Lock()
	defer p.mu.Unlock()
	owed := p.owed
	p.owed = nil
	return owed
}

func (p *progress) owes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owed)
}

// giveUp ends a row of which nobody is to be told any more.
func (p *progress) giveUp() {
	p.settle()
	p.walked = true
}

func (p *progress) finished() bool { return p.walked && p.owes() == 0 }

// after is how long the providers asked to be left alone: as long as the most patient one.
func (p *progress) after(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for _, d := range p.owed {
		longest = max(longest, d.notBefore.Sub(now))
	}
	return longest
}

// unfinished remembers the progress of rows between their attempts. Safe for concurrent use.
type unfinished struct {
	max int

	mu    sync.Mutex // guards what follows
	rows  map[string]*progress
	order []string // names in the order in which they were put, also of rows taken since
}

func newUnfinished(limit int) *unfinished {
	return &unfinished{max: limit, rows: make(map[string]*progress)}
}

// nameOf is a row's name among all rows for devices.
func nameOf(r *nodev1.OutboxRow) string {
	return fmt.Sprintf("%s/%s/%d", r.ApplicationId, r.SourceId, r.GetCommand().GetDeliverEvent().GetSequence())
}

// take gives the progress of a row, a new one at its first attempt here or when it was forgotten.
func (u *unfinished) take(name string, first bool) *progress {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.rows[name]
	delete(u.rows, name)
	if p == nil || first {
		return &progress{}
	}
	return p
}

func (u *unfinished) put(name string, p *progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rows[name] = p
	u.order = append(u.order, name)
	for len(u.rows) > u.max || len(u.order) > 2*u.max {
		delete(u.rows, u.order[0])
		u.order = u.order[1:]
	}
}
