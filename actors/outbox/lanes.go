package outbox

import (
	"container/heap"
	"fmt"

	"parley/actors/grain"
)

// lane is what one source has for one target.
type lane struct {
	name     string
	group    *group
	rows     []grain.Row
	more     bool // later rows of this lane are on disk only
	ready    bool // in one of the group's lists
	flying   bool
	parked   bool  // its rows were left to the disk until it delivers again
	attempts int   // that failed since a row was taken
	since    int64 // when the row was committed that failed last, for as long as it is parked
	retryAt  int64
}

// group is the lanes for one shard, or for one sink of an application.
type group struct {
	name   string
	ready  []*lane // may deliver now
	again  []*lane // may deliver now, and have failed the last time
	rows   int     // in its lanes
	parked int     // of its lanes
	flying int
	trying int  // of flying, those that had failed
	tried  bool // the last one that was chosen had failed: the next one need not have
	queued bool // in the queue's turns
	more   bool // rows of lanes that are not held are on disk
}

// empty says that the group may be forgotten.
func (g *group) empty() bool { return g.rows == 0 && g.parked == 0 && g.flying == 0 && !g.more }

// retries says whether a lane that has failed may deliver now. Half of a group's deliveries is for
// lanes that have not, so that those whose target does not answer cannot take all.
func (q *Queue) retries(g *group) bool {
	return len(g.again) > 0 && g.trying < max(1, q.limits.GroupFlightMax/2)
}

// choose takes the lane that delivers next: of those that have failed and of the others one in turn.
func (q *Queue) choose(g *group) *lane {
	from := &g.ready
	if q.retries(g) && (len(g.ready) == 0 || !g.tried) {
		from = &g.again
		g.trying++
	}
	g.tried = from == &g.again
	l := (*from)[0]
	*from = (*from)[1:]
	return l
}

// groupOf finds the group of a row, or makes it.
func (q *Queue) groupOf(key []byte) *group {
	name := grain.Group(key)
	g := q.groups[string(name)]
	if g == nil {
		g = &group{name: string(name)}
		q.groups[g.name] = g
	}
	return g
}

// hold appends a row to its lane, unless it is held already, or its lane or group is full.
func (q *Queue) hold(r grain.Row) {
	if _, known := q.held[string(r.Key)]; known {
		return
	}
	name := grain.Lane(r.Key)
	l := q.lanes[string(name)]
	if l == nil {
		g := q.groupOf(r.Key)
		if g.more || g.rows >= q.limits.GroupRowsMax {
			g.more = true // perhaps behind others of its lane
			return
		}
		l = &lane{name: string(name), group: g}
		q.lanes[l.name] = l
	}
	if l.more || q.full(l) {
		l.more = true
		return
	}
	q.held[string(r.Key)] = struct{}{}
	l.rows = append(l.rows, r)
	l.group.rows++
	if len(l.rows) == 1 && !l.flying {
		q.makeReady(l)
	}
}

// full says whether a lane may hold no more. Its first row always has a place.
func (q *Queue) full(l *lane) bool {
	return len(l.rows) >= q.limits.LaneMax || len(l.rows) > 0 && l.group.rows >= q.limits.GroupRowsMax
}

// makeReady puts a lane into its group's list, if it is not there.
func (q *Queue) makeReady(l *lane) {
	if l.ready {
		return
	}
	l.ready = true
	if l.attempts > 0 {
		l.group.again = append(l.group.again, l)
	} else {
		l.group.ready = append(l.group.ready, l)
	}
	q.takeTurn(l.group)
}

// takeTurn puts a group that may deliver at the end of the turns.
func (q *Queue) takeTurn(g *group) {
	if g.queued || len(g.ready) == 0 && !q.retries(g) || g.flying >= q.limits.GroupFlightMax {
		return
	}
	g.queued = true
	q.turns = append(q.turns, g)
}

// deliver sends the first row of ready lanes, one of each group in turn, as far as deliveries are
// free.
func (q *Queue) deliver() error {
	for q.flying < q.limits.FlightMax && len(q.turns) > 0 {
		g := q.turns[0]
		q.turns = q.turns[1:]
		l := q.choose(g)
		g.queued, l.ready, l.flying = false, false, true
		g.flying++
		q.flying++
		if l.parked {
			if err := q.unpark(l); err != nil {
				return err
			}
		}
		q.takeTurn(g)
		q.out = append(q.out, Deliver{Row: l.rows[0], Attempt: l.attempts + 1})
	}
	return nil
}

// advance readies a lane's next row, looks on disk for more, or lets the lane go.
func (q *Queue) advance(l *lane) error {
	if len(l.rows) == 0 && l.more {
		l.more = false
		if err := q.refillLane(l); err != nil {
			return err
		}
	}
	if len(l.rows) > 0 {
		q.makeReady(l)
		return nil
	}
	delete(q.lanes, l.name)
	return q.refillGroup(l.group)
}

// block leaves a lane alone until a time. It is parked: its rows make room for others until it is its
// turn again. Of very many at once the last keep their rows, because what is remembered has a limit.
func (q *Queue) block(l *lane, until int64) error {
	l.retryAt = until
	heap.Push(&q.blocked, l)
	if q.parked >= q.limits.ParkedMax {
		return nil
	}
	l.since = l.rows[0].Row.CreatedMs
	q.keep(l, 0)
	l.parked = true
	l.group.parked++
	q.parked++
	return q.refillGroup(l.group)
}

// keep leaves all but the first n rows of a lane to the disk.
func (q *Queue) keep(l *lane, n int) {
	for _, r := range l.rows[n:] {
		delete(q.held, string(r.Key))
	}
	l.group.rows -= len(l.rows) - n
	clear(l.rows[n:])
	l.rows, l.more = l.rows[:n], true
}

func (q *Queue) unblock(now int64) {
	for len(q.blocked) > 0 && q.blocked[0].retryAt <= now {
		q.makeReady(heap.Pop(&q.blocked).(*lane))
	}
}

// unpark brings the rows of a lane back that is about to deliver.
func (q *Queue) unpark(l *lane) error {
	l.parked, l.more = false, false
	l.group.parked--
	q.parked--
	if err := q.refillLane(l); err != nil {
		return err
	}
	if len(l.rows) == 0 {
		return fmt.Errorf("the rows of a lane that was left alone are gone: shard %d, lane %x", q.shard, l.name)
	}
	return nil
}

// laneHeap orders blocked lanes by the time of their retry.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].retryAt < h[j].retryAt }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) { *h = append(*h, x.(*lane)) }

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
