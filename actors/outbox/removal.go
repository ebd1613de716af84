package outbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// redeliverMax bounds the requests for dead letters that wait; more are refused.
const redeliverMax = 16

// removal is a row that leaves the outbox; with a letter, because it was given up.
type removal struct {
	key    []byte
	letter *nodev1.DeadLetter
}

// moving is the write that brings dead letters back.
type moving struct {
	ask   Redeliver
	rows  []grain.Row // to be delivered again
	moved int
}

// Entity is the head key of a shard's outbox for grains: deletions are its writes, so they pass the
// same fence as all others and need no grain. Each kind of sink has a head of its own.
func Entity(s keys.Shard) []byte {
	return keys.Head(s, keys.UUID{}, keys.UUID{}, keys.EntityKind(nodev1.Kind_KIND_SHARD))
}

func (q *Queue) readRevision() error {
	row, ok, err := q.reader.Get(q.entity)
	if err != nil {
		return fmt.Errorf("read the outbox head of shard %d: %w", q.shard, err)
	}
	q.revision = 0
	if ok {
		q.revision = binary.BigEndian.Uint64(row)
	}
	return nil
}

// idle says that no write is in flight.
func (q *Queue) idle() bool { return q.deleting == nil && q.moving == nil }

// remove proposes the next write: dead letters that somebody asked for, or the deletion of what was
// delivered or given up.
func (q *Queue) remove(now int64) error {
	for len(q.asked) > 0 && q.idle() && now >= q.retryAt {
		if err := q.move(now); err != nil {
			return fmt.Errorf("read the dead letters of shard %d: %w", q.shard, err)
		}
	}
	if !q.idle() || len(q.acked) == 0 || now < q.retryAt {
		return nil
	}
	n := q.leaving()
	q.deleting = q.acked[:n:n]
	q.acked = q.acked[n:]
	var died []*nodev1.DeadLetter
	ops := make([]store.Op, n)
	for i, r := range q.deleting {
		ops[i] = store.Delete(r.key)
		if r.letter != nil {
			died = append(died, r.letter)
		}
	}
	ops, dropped, err := q.bury(ops, died)
	if err != nil {
		return fmt.Errorf("read the dead letters of shard %d: %w", q.shard, err)
	}
	q.out = append(q.out, Propose{Write: q.write(ops), Died: died, Dropped: dropped})
	return nil
}

// leaving is how many of the rows that were delivered or given up the next write takes.
func (q *Queue) leaving() int {
	n, size := 0, 0
	for n < min(len(q.acked), q.limits.DeleteMax) {
		size += q.acked[n].letter.SizeVT()
		if n > 0 && size > q.limits.DeleteBytes {
			break
		}
		n++
	}
	return n
}

func (q *Queue) write(ops []store.Op) shard.Write {
	return shard.Write{Entity: q.entity, Base: q.revision, Ops: ops}
}

// bury adds the letters to a write, and takes out the oldest of each application that has too many.
func (q *Queue) bury(ops []store.Op, letters []*nodev1.DeadLetter) (_ []store.Op, dropped int, err error) {
	fresh := make(map[keys.UUID]int)
	for i := len(letters) - 1; i >= 0; i-- { // the newest come first: they stay
		app, err := id.Parse(id.Application, letters[i].Row.ApplicationId)
		if err != nil {
			return ops, dropped, fmt.Errorf("application %q: %w", letters[i].Row.ApplicationId, err)
		}
		if fresh[app]++; fresh[app] > q.limits.LettersMax {
			dropped++
			continue
		}
		value, err := letters[i].MarshalVT()
		if err != nil {
			return ops, dropped, err
		}
		ops = append(ops, store.Put(keys.DeadLetter(q.shard, app, byte(q.kind), letters[i].DiedMs, letterID(letters[i].Key)), value))
	}
	for _, l := range letters { // in their order: a map has none
		app, err := id.Parse(id.Application, l.Row.ApplicationId)
		if err != nil || fresh[app] == 0 {
			continue
		}
		old, err := q.excess(app, q.limits.LettersMax-min(fresh[app], q.limits.LettersMax))
		if err != nil {
			return ops, dropped, err
		}
		delete(fresh, app)
		dropped += len(old)
		for _, k := range old {
			ops = append(ops, store.Delete(k))
		}
	}
	return ops, dropped, nil
}

// letterID names a letter by its row's key: those that died in one millisecond keep the order of
// their lane.
func letterID(key []byte) (id keys.UUID) {
	lane := grain.Lane(key)
	digest := sha256.Sum256(lane)
	n := copy(id[:], key[len(lane):])
	copy(id[n:], digest[:])
	return id
}

// excess lists an application's oldest letters, but for the last keep.
func (q *Queue) excess(app keys.UUID, keep int) ([][]byte, error) {
	prefix := keys.DeadLetters(q.shard, app, byte(q.kind))
	var all [][]byte
	err := q.reader.Scan(prefix, keys.End(prefix), false, func(k, _ []byte) (bool, error) {
		all = append(all, bytes.Clone(k))
		return true, nil
	})
	return all[:max(0, len(all)-keep)], err
}

func (q *Queue) onRedeliver(ask Redeliver) {
	if len(q.asked) >= redeliverMax {
		q.out = append(q.out, Answer{Done: ask.Done, Err: code.New(code.Unavailable, "too many ask for dead letters; try again")})
		return
	}
	q.asked = append(q.asked, ask)
}

// Pending are the requests for dead letters that have no answer yet, for who ends the queue.
func (q *Queue) Pending() []Redeliver {
	pending := q.asked
	if q.moving != nil {
		pending = append(pending, q.moving.ask)
	}
	return pending
}

// meant gives the bounds of the letters that a request is about, and notes the last of them: what dies
// later is not meant, or a target that refuses at once would be asked for ever.
func (q *Queue) meant(ask *Redeliver) (lo, hi []byte, err error) {
	lo = keys.DeadLetters(q.shard, ask.Application, byte(q.kind))
	hi = keys.End(lo)
	if len(ask.Position) > 0 {
		lo = append(bytes.Clone(lo), ask.Position...)
		ask.last = lo
	}
	if ask.last == nil {
		ask.last = lo // none is there
		err = q.reader.Scan(lo, hi, true, func(k, _ []byte) (bool, error) {
			ask.last = bytes.Clone(k)
			return false, nil
		})
	}
	return lo, append(bytes.Clone(ask.last), 0), err
}

// move proposes to bring back, or to drop, the letters of the first request, as many as one write may
// move.
func (q *Queue) move(now int64) error {
	m := &moving{ask: q.asked[0]} // still pending, should the disk not be readable
	lo, hi, err := q.meant(&m.ask)
	if err != nil {
		return err
	}
	var ops []store.Op
	size := 0
	err = q.reader.Scan(lo, hi, false, func(k, v []byte) (bool, error) {
		m.moved++
		size += len(v)
		ops = append(ops, store.Delete(bytes.Clone(k)))
		if m.ask.Discard {
			return m.moved < q.limits.DeleteMax, nil
		}
		row, err := revived(v, now)
		if err != nil {
			return false, fmt.Errorf("dead letter %x: %w", k, err)
		}
		value, err := row.Row.MarshalVT()
		if err != nil {
			return false, err
		}
		m.rows = append(m.rows, row)
		ops = append(ops, store.Put(row.Key, value))
		return m.moved < q.limits.DeleteMax && size < q.limits.DeleteBytes, nil
	})
	if err != nil {
		return err
	}
	q.asked = q.asked[1:]
	if m.moved == 0 {
		q.out = append(q.out, Answer{Done: m.ask.Done, Moved: m.ask.moved})
		return nil
	}
	q.moving = m
	q.out = append(q.out, Propose{Write: q.write(ops)})
	return nil
}

// revived is the row of a letter, as old as now.
func revived(v []byte, now int64) (grain.Row, error) {
	l := &nodev1.DeadLetter{}
	if err := l.UnmarshalVT(v); err != nil {
		return grain.Row{}, err
	}
	row := proto.CloneOf(l.Row)
	row.CreatedMs = now
	return grain.Row{Key: l.Key, Row: row}, nil
}

func (q *Queue) onDeleted(now int64, d Deleted) error {
	if q.moving != nil {
		return q.onMoved(d)
	}
	done := q.deleting
	q.deleting = nil
	if d.Err != nil {
		// Deleting twice is harmless, so even an unknown outcome is tried again: the fence
		// lets it through only while the epoch lasts.
		q.acked = append(done, q.acked...)
		q.failures++
		q.retryAt = now + q.backoff(q.failures)
		return q.readRevision()
	}
	q.failures, q.retryAt = 0, 0
	q.revision++
	for _, r := range done {
		delete(q.held, string(r.key))
	}
	return nil
}

// onMoved takes up the rows that were brought back. If it is not known whether they were, the disk
// is looked at.
func (q *Queue) onMoved(d Deleted) error {
	m := q.moving
	q.moving = nil
	if d.Err != nil {
		q.behind = true
		q.out = append(q.out, Answer{Done: m.ask.Done, Err: d.Err})
		return q.readRevision()
	}
	q.revision++
	m.ask.moved += m.moved
	q.asked = append([]Redeliver{m.ask}, q.asked...) // until none that is meant is left
	return q.onPosted(m.rows)
}
