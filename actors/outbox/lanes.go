package outbox

import (
	"container/heap"
	"fmt"

	"parley/actors/grain"
	nodev1 "parley/proto/node/v1"
)

// standing is what is known of a lane's target.
type standing byte

const (
	untried standing = iota // nothing, since the epoch began
	failed                  // it did not take the last row, or was left alone
	proven                  // it took the last row
)

// lane is what one source has for one target.
type lane struct {
	name     string
	group    *group
	standing standing
	rows     []grain.Row
	more     bool // later rows of this lane are on disk only
	ready    bool // in one of the group's lists
	flying   bool
	slow     bool  // on its way for so long that it has left its place to others
	sentAt   int64 // its first row, for as long as it is on its way
	parked   bool  // its rows were left to the disk until it is its turn
	attempts int   // that failed since a row was taken
	since    int64 // when its first row was committed, for as long as it is parked
	retryAt  int64
}

// group is the lanes for one shard, or for one sink of an application.
type group struct {
	name    string
	ready   [proven + 1][]*lane // may deliver now, by standing, in the order in which they came
	aloft   [proven + 1]int     // on their way, by standing
	rows    int                 // in its lanes
	parked  int                 // of its lanes
	flying  int                 // but for the slow
	slow    int
	doubted bool // the last lane that was chosen was not proven: it is the turn of one that is
	turn    int  // of those that are not
	queued  bool // in the queue's turns
	more    bool // rows of lanes that are not held are on disk
}

// empty says that the group may be forgotten.
func (g *group) empty() bool {
	return g.rows == 0 && g.parked == 0 && g.flying == 0 && g.slow == 0 && !g.more
}

// may says whether a group has a lane of a standing that may deliver now. Half of its deliveries at most
// is for lanes that have failed, and three quarters for those and the untried: so those whose targets do
// not answer cannot take all from the untried, nor both from the proven.
func (q *Queue) may(g *group, s standing) bool {
	most := q.limits.GroupFlightMax
	doubtful := g.aloft[untried] + g.aloft[failed]
	if len(g.ready[s]) == 0 || s != proven && doubtful >= max(1, most*3/4) {
		return false
	}
	return s != failed || g.aloft[failed] < max(1, most/2)
}

// choose takes the lane that delivers next: of those that are proven and of the others one in turn.
func (q *Queue) choose(g *group) *lane {
	if q.may(g, proven) && (g.doubted || !q.may(g, untried) && !q.may(g, failed)) {
		g.doubted = false
		return g.take(proven, 0)
	}
	g.doubted = true
	return q.chooseDoubtful(g)
}

// chooseDoubtful takes a lane that is not proven, of which there is one: in turn one that has failed, and
// the first and the last that came of the untried. Hundreds of those may be dead, after a change of the
// leader or because each has its first row; the last need not wait for all of them.
func (q *Queue) chooseDoubtful(g *group) *lane {
	for {
		g.turn = (g.turn + 1) % 3
		switch {
		case g.turn == 0 && q.may(g, failed):
			return g.take(failed, 0)
		case g.turn == 1 && q.may(g, untried):
			return g.take(untried, 0)
		case g.turn == 2 && q.may(g, untried):
			return g.take(untried, len(g.ready[untried])-1)
		}
	}
}

// take takes the first or the last lane of a standing.
func (g *group) take(s standing, i int) *lane {
	l := g.ready[s][i]
	g.ready[s][i] = nil
	if i == 0 {
		g.ready[s] = g.ready[s][1:]
	} else {
		g.ready[s] = g.ready[s][:i]
	}
	return l
}

// standingOf is what is known of a lane that was empty or never seen. Grains are of this cluster, and
// count as proven until they fail.
func (q *Queue) standingOf(name []byte) standing {
	_, late := q.took[string(name)]
	_, earlier := q.tookBefore[string(name)]
	if q.kind == nodev1.Kind_KIND_UNSPECIFIED || late || earlier {
		return proven
	}
	return untried
}

// remember keeps in mind that the target of a lane that is empty now took its last row. Of very many
// the earlier are forgotten: no more are remembered than rows may be held.
func (q *Queue) remember(name string) {
	if q.kind == nodev1.Kind_KIND_UNSPECIFIED {
		return
	}
	if len(q.took) >= max(1, q.limits.RowsMax/2) {
		q.took, q.tookBefore = make(map[string]struct{}), q.took
	}
	q.took[name] = struct{}{}
}

// forget undoes remember.
func (q *Queue) forget(name string) {
	delete(q.took, name)
	delete(q.tookBefore, name)
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

// hold appends a row to its lane, unless it is held already, or its lane or group is full. A lane that
// comes to a full group is parked: it has its turn among the others, and its rows are read then.
func (q *Queue) hold(r grain.Row) {
	if _, known := q.held[string(r.Key)]; known {
		return
	}
	name := grain.Lane(r.Key)
	l := q.lanes[string(name)]
	if l == nil {
		g := q.groupOf(r.Key)
		full := g.rows >= q.limits.GroupRowsMax
		if g.more || full && q.parked >= q.limits.ParkedMax {
			g.more = true // perhaps behind others of its lane
			return
		}
		l = &lane{name: string(name), group: g, standing: q.standingOf(name)}
		q.lanes[l.name] = l
		if full {
			q.park(l, r.Row.CreatedMs)
			q.makeReady(l)
			return
		}
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
	list := &l.group.ready[l.standing]
	*list = append(*list, l)
	q.takeTurn(l.group)
}

// takeTurn puts a group that may deliver at the end of the turns.
func (q *Queue) takeTurn(g *group) {
	may := q.may(g, proven) || q.may(g, untried) || q.may(g, failed)
	if g.queued || !may || g.flying >= q.limits.GroupFlightMax {
		return
	}
	g.queued = true
	q.turns = append(q.turns, g)
}

// deliver sends the first row of ready lanes, one of each group in turn, as far as deliveries are
// free.
func (q *Queue) deliver(now int64) error {
	for q.flying < q.limits.FlightMax && len(q.turns) > 0 {
		g := q.turns[0]
		q.turns = q.turns[1:]
		l := q.choose(g)
		g.queued, l.ready, l.flying = false, false, true
		if l.parked {
			if err := q.unpark(l); err != nil {
				return err
			}
		}
		if len(l.rows) > 0 {
			q.send(now, l)
		} else if err := q.ground(l); err != nil { // delivered before the news of it came
			return err
		}
		q.takeTurn(g)
	}
	return nil
}

// ground advances a lane that turned out to have nothing to send.
func (q *Queue) ground(l *lane) error {
	l.flying = false
	return q.advance(l)
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
	if l.standing == proven {
		q.remember(l.name)
	}
	return q.refillGroup(l.group)
}

// block leaves a lane alone until a time. It is parked: its rows make room for others until it is its
// turn again. Of very many at once the last keep their rows, because what is remembered has a limit.
func (q *Queue) block(l *lane, until int64) error {
	l.retryAt, l.standing = until, failed
	q.forget(l.name)
	heap.Push(&q.blocked, l)
	if q.parked >= q.limits.ParkedMax {
		return nil
	}
	q.park(l, l.rows[0].Row.CreatedMs)
	return q.refillGroup(l.group)
}

// park leaves all rows of a lane, the first of which was committed at a time, to the disk.
func (q *Queue) park(l *lane, since int64) {
	q.keep(l, 0)
	l.parked, l.since = true, since
	l.group.parked++
	q.parked++
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
	if len(l.rows) == 0 && l.standing == failed {
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
