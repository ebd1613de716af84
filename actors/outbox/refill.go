package outbox

import (
	"bytes"
	"fmt"

	"parley/actors/grain"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// refillEvery is how often the disk is looked at for a few rows, in milliseconds.
const refillEvery = 1000

// refill looks at the disk when it has rows that are not held and there is room for a good many; or
// for a few, now and then, lest targets that do not answer keep all others out for ever.
func (q *Queue) refill(now int64) error {
	switch {
	case !q.behind:
		return nil
	case len(q.held) <= q.limits.RowsMax/2 || q.squeeze():
	case len(q.held) >= q.limits.RowsMax || now < q.lookAt:
		return nil
	}
	q.behind, q.lookAt = false, now+refillEvery
	for _, g := range q.groups {
		g.more = g.rows >= q.limits.GroupRowsMax && q.parked >= q.limits.ParkedMax
	}
	for _, s := range q.spans {
		if err := q.walk(s.lo, s.hi); err != nil {
			return err
		}
	}
	for name, g := range q.groups {
		if g.empty() {
			delete(q.groups, name)
		}
	}
	return nil
}

// refillGroup looks at the disk for lanes of a group that were not held for want of room, or lets
// the group go.
func (q *Queue) refillGroup(g *group) error {
	switch {
	case g.empty():
		delete(q.groups, g.name)
		return nil
	case !g.more || g.rows > q.limits.GroupRowsMax/2 || q.behind:
		return nil
	}
	g.more = false
	return q.walk([]byte(g.name), keys.End([]byte(g.name)))
}

// walk holds rows of [lo, hi), as many as there is room for.
func (q *Queue) walk(lo, hi []byte) error {
	for lo != nil {
		next, err := q.walkOn(lo, hi)
		if err != nil {
			return fmt.Errorf("read the outbox of shard %d: %w", q.shard, err)
		}
		lo = next
	}
	return nil
}

// walkOn holds rows of [lo, hi). Where a lane or group is full it stops and gives the end of that,
// to go on from; nil when it is through or there is no more room.
func (q *Queue) walkOn(lo, hi []byte) (next []byte, err error) {
	err = q.reader.Scan(lo, hi, false, func(k, v []byte) (bool, error) {
		if l := q.lanes[string(grain.Lane(k))]; l != nil && (l.more || q.full(l)) {
			l.more = true
			next = keys.End(grain.Lane(k))
			return false, nil
		}
		if len(q.held) >= q.limits.RowsMax {
			q.behind = true
			return false, nil
		}
		if err := q.holdStored(k, v); err != nil {
			return false, err
		}
		if g := q.groups[string(grain.Group(k))]; g != nil && g.more && q.lanes[string(grain.Lane(k))] == nil {
			next = keys.End(grain.Group(k))
			return false, nil
		}
		return true, nil
	})
	if next != nil && bytes.Compare(next, hi) >= 0 {
		next = nil
	}
	return next, err
}

func (q *Queue) refillLane(l *lane) error {
	lo := []byte(l.name)
	err := q.reader.Scan(lo, keys.End(lo), false, func(k, v []byte) (bool, error) {
		if err := q.holdStored(k, v); err != nil {
			return false, err
		}
		return !l.more, nil
	})
	if err != nil {
		return fmt.Errorf("read the outbox of shard %d: %w", q.shard, err)
	}
	return nil
}

func (q *Queue) holdStored(k, v []byte) error {
	r := &nodev1.OutboxRow{}
	if err := r.UnmarshalVT(v); err != nil {
		return fmt.Errorf("outbox row %x: %w", k, err)
	}
	q.hold(grain.Row{Key: bytes.Clone(k), Row: r})
	return nil
}

// squeeze leaves to the disk all but the first row of the lanes whose targets do not answer, so
// that they cannot fill the memory of the others. It says whether that made room.
func (q *Queue) squeeze() bool {
	freed := false
	for _, l := range q.blocked {
		if len(l.rows) < 2 {
			continue
		}
		q.keep(l, 1)
		freed = true
	}
	return freed
}
