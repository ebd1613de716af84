package system

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"parley/cluster/directory"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// lines keep parked calls in the order in which they were made. What is asked of an identity while
// others wait to be asked of it waits behind them; the sweeper makes their next attempts one after
// another, up to the first that is parked again. All of them are in the caller's table, too, which
// bounds them.
type lines struct {
	c    *Caller
	size atomic.Int64 // of by: most calls find no line and need no lock

	mu sync.Mutex // guards all below; taken before the lock of a stripe, never after it
	by map[lineKey]*line
}

// lineKey names what the calls of a line are for. Queries are read side by side: each has its own.
type lineKey struct {
	kind            nodev1.Kind
	application, id string
	query           *call
}

func keyOf(c *call) lineKey {
	k := lineKey{kind: c.req.Kind, application: c.req.ApplicationId, id: c.req.Id}
	if c.req.Query != nil {
		k.query = c
	}
	return k
}

// line is there as long as calls are in it, or the sweeper is making their attempts.
type line struct {
	shard   keys.Shard
	places  []place        // by order; calls that ended meanwhile leave theirs behind until the next attempts
	lead    directory.Lead // as the first call's parking found it
	stuck   bool           // its calls are
	retryAt time.Time
}

// place is one call's in a line: where it is in the table.
type place struct {
	order uint64
	id    callID
}

func newLines(c *Caller) *lines { return &lines{c: c, by: make(map[lineKey]*line)} }

// join lets c wait behind others, if there are any. If open is false, the caller is closed and c
// is still its owner's.
func (l *lines) join(c *call, now time.Time) (joined, open bool) {
	if l.size.Load() == 0 {
		return false, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.by[keyOf(c)]
	if ln == nil {
		return false, true
	}
	c.flying, c.local, c.stuck = false, nil, ln.stuck
	if lead := c.follow(now); lead != ln.lead || !now.Before(ln.retryAt) {
		l.c.wake()
	}
	return true, l.put(ln, c)
}

// park puts c, which found no way, at its place. If that is the first of its line, it says when the
// line's next attempts are. It gives false when the caller is closed; then c is still its owner's.
func (l *lines) park(c *call, retryAt time.Time) (open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := keyOf(c)
	ln := l.by[key]
	made := ln == nil
	if made {
		ln = &line{shard: c.shard}
		l.by[key] = ln
		l.size.Add(1)
	}
	if len(ln.places) == 0 || c.order < ln.places[0].order {
		ln.lead, ln.stuck, ln.retryAt = c.lead, c.stuck, retryAt
	}
	if open = l.put(ln, c); made && !open {
		l.drop(key) // a line with nobody in it is the sweeper's alone
	}
	return open
}

// put registers c and notes its place in ln. The lock is held.
func (l *lines) put(ln *line, c *call) (open bool) {
	order := c.order
	id, open := l.c.register(c)
	if !open {
		return false
	}
	// From here another goroutine may own c.
	at, _ := slices.BinarySearchFunc(ln.places, order, func(p place, order uint64) int { return cmp.Compare(p.order, order) })
	ln.places = slices.Insert(ln.places, at, place{order, id})
	return true
}

// due gives the lines whose next attempts are due, those that wait the longest first.
func (l *lines) due(r *review) (due []lineKey) {
	if l.size.Load() == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first := map[lineKey]uint64{}
	for key, ln := range l.by {
		if r.now.Before(ln.retryAt) && l.c.s.dir.Get(ln.shard) == ln.lead {
			r.again(ln.retryAt)
			continue
		}
		first[key] = ln.places[0].order
		due = append(due, key)
	}
	slices.SortFunc(due, func(a, b lineKey) int { return cmp.Compare(first[a], first[b]) })
	return due
}

// take empties a line for the next attempts. It stays, so that new calls join it, until there is
// nothing to take: then it is gone.
func (l *lines) take(key lineKey) []place {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.by[key]
	places := ln.places
	ln.places = nil
	if len(places) == 0 {
		l.drop(key)
	}
	return places
}

// drop forgets a line in which nobody is. The lock is held.
func (l *lines) drop(key lineKey) {
	delete(l.by, key)
	l.size.Add(-1)
}

// held says whether the call with that order, or one that was made before it, is in a line, and when
// its next attempt is.
func (l *lines) held(key lineKey, order uint64) (retryAt time.Time, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.by[key]
	if ln == nil || len(ln.places) == 0 || ln.places[0].order > order {
		return time.Time{}, false
	}
	return ln.retryAt, true
}

// retry makes the next attempts of a line, and of what joins it meanwhile. The sweeper calls it.
func (l *lines) retry(key lineKey, r *review) {
	for places := l.take(key); len(places) > 0; places = l.take(key) {
		held := false
		for _, p := range places {
			c, ok := l.c.table.take(p.id).(*call)
			switch {
			case !ok: // it ended
				continue
			case held:
				c.start(r.now) // behind the one that is parked again
			default:
				c.attempt(r.now)
			}
			var retryAt time.Time
			if retryAt, held = l.held(key, p.order); held {
				r.again(retryAt)
			}
		}
		if held {
			return
		}
	}
}
