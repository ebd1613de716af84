package push

import (
	"fmt"
	"slices"
	"sync"
	"time"

	nodev1 "parley/proto/node/v1"
)

// progress is how far a row has come. It is one attempt's alone.
type progress struct {
	walked  bool     // all members have been looked at, but for the skipped
	at      []byte   // the position in the list of members to go on from
	skipped [][]byte // the positions of pages that have still to be told, at most one for each attempt

	mu      sync.Mutex // guards what follows
	owed    []debt
	last    error // of an attempt that failed for now
	settled int   // devices that need not be tried again, and pages that were looked at
}

// debt is what is to be tried again: a device, or all devices of a user when they could not be read.
// It names the device alone, which may have another token, or be no more, when its time has come.
type debt struct {
	to        person
	device    string    // its id; empty = all
	since     time.Time // of the first attempt that failed
	notBefore time.Time
}

// owe notes what is to be tried again, and why.
func (p *progress) owe(d debt, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed, p.last = append(p.owed, d), err
}

// oweStill notes what it was too early to try.
func (p *progress) oweStill(d debt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = append(p.owed, d)
}

// advance notes that something of the row is done.
func (p *progress) advance() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled++
}

// advances is how much of the row is done.
func (p *progress) advances() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settled
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
	p.walked, p.skipped = true, nil
}

func (p *progress) finished() bool { return p.walked && len(p.skipped) == 0 && p.owes() == 0 }

// page is the position of the next page to tell.
func (p *progress) page() (at []byte, more bool) {
	switch {
	case !p.walked:
		return p.at, true
	case len(p.skipped) > 0:
		return p.skipped[0], true
	default:
		return nil, false
	}
}

// turnPage goes on behind the page that page gave; next is the position after it.
func (p *progress) turnPage(next []byte) {
	if p.walked {
		p.skipped = p.skipped[1:]
	} else {
		p.at, p.walked = next, len(next) == 0
	}
	p.advance()
}

// skippedMax bounds the positions that are remembered. The walk does not go on beyond.
const skippedMax = 64

// skip forgets what was owed since m, of a page that was not told, and puts the page last.
func (p *progress) skip(m mark, at, next []byte) {
	p.mu.Lock()
	p.owed = p.owed[:m.owed]
	p.mu.Unlock()
	switch {
	case p.walked:
		p.skipped = append(p.skipped[1:], at)
	case len(p.skipped) < skippedMax:
		p.skipped = append(p.skipped, at)
		p.at, p.walked = next, len(next) == 0
	}
}

// mark is how far a row had come at one moment.
type mark struct{ owed, settled int }

func (p *progress) mark() mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return mark{len(p.owed), p.settled}
}

// nobodySince says that some were tried since m, and that nobody was reached.
func (p *progress) nobodySince(m mark) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owed) > m.owed && p.settled == m.settled
}

// forget gives up the oldest debts beyond limit, and says how many those are.
func (p *progress) forget(limit int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := max(0, len(p.owed)-limit)
	p.owed = slices.Delete(p.owed, 0, n)
	return n
}

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
	puts  uint64
	rows  map[string]put
	order []turn // in which rows were put, also of those taken since
}

// put is what is remembered of a row, with the number of the put that brought it.
type put struct {
	progress *progress
	number   uint64
}

// turn names a put. It is over when the row has been taken since, also if it was put again.
type turn struct {
	name   string
	number uint64
}

func newUnfinished(limit int) *unfinished {
	return &unfinished{max: limit, rows: make(map[string]put)}
}

// nameOf is a row's name among all rows for devices. One that was given up and is brought back is as old as that, and
// begins anew.
func nameOf(r *nodev1.OutboxRow) string {
	return fmt.Sprintf("%s/%s/%d/%d", r.ApplicationId, r.SourceId, r.GetCommand().GetDeliverEvent().GetSequence(), r.CreatedMs)
}

// take gives the progress of a row, a new one when none is remembered.
func (u *unfinished) take(name string) *progress {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, known := u.rows[name]
	delete(u.rows, name)
	if !known {
		return &progress{}
	}
	return p.progress
}

func (u *unfinished) put(name string, p *progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.puts++
	u.rows[name] = put{p, u.puts}
	u.order = append(u.order, turn{name, u.puts})
	for len(u.rows) > u.max {
		if !u.over(u.order[0]) {
			delete(u.rows, u.order[0].name)
		}
		u.order = u.order[1:]
	}
	if len(u.order) > 2*u.max {
		u.order = slices.DeleteFunc(u.order, u.over)
	}
}

// over says whether a turn is over, with u.mu held.
func (u *unfinished) over(t turn) bool { return u.rows[t.name].number != t.number }
