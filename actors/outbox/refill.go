package outbox

import (
	"bytes"
	"fmt"

	"parley/actors/grain"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// refill looks at the disk when it has rows that are not held and there is room for a good many.
func (q *Queue) refill() error {
	if !q.behind || len(q.held) > q.limits.RowsMax/2 && !q.squeeze() {
		return nil
	}
	q.behind = false
	lo := keys.OutboxRows(q.shard)
	hi := keys.End(lo)
	for lo != nil {
		next, err := q.walk(lo, hi)
		if err != nil {
			return fmt.Errorf("read the outbox of shard %d: %w", q.shard, err)
		}
		lo = next
	}
	return nil
}

// walk holds rows of [lo, hi). Where a lane is full it stops and gives the end of that lane, to
// go on from; nil when it is through or there is no more room.
func (q *Queue) walk(lo, hi []byte) (next []byte, err error) {
	err = q.reader.Scan(lo, hi, false, func(k, v []byte) (bool, error) {
		if l := q.lanes[string(grain.Lane(k))]; l != nil && (l.more || len(l.rows) >= q.limits.LaneMax) {
			l.more = true
			next = keys.End(grain.Lane(k))
			return false, nil
		}
		if len(q.held) >= q.limits.RowsMax {
			q.behind = true
			return false, nil
		}
		return true, q.holdStored(k, v)
	})
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
		for _, r := range l.rows[1:] {
			delete(q.held, string(r.Key))
		}
		clear(l.rows[1:])
		l.rows, l.more, freed = l.rows[:1], true, true
	}
	return freed
}
