package shard

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/snapshot"
	"parley/persistence/store"
)

// applier carries committed writes out on the state Pebble: one unsynced batch for all groups,
// with each group's applied row in it (invariant I3). It reads no clock and no option, so every
// replica comes to the same state. It keeps no goroutine.
type applier struct {
	st        *store.Store
	m         *metrics
	revisions *revisions
	row       []byte   // scratch
	answers   []answer // of the batch under construction
}

func newApplier(st *store.Store, m *metrics, revisionsMax int) *applier {
	return &applier{st: st, m: m, revisions: newRevisions(st.Reader(), revisionsMax)}
}

// apply carries tasks out in their order and answers those who wait. The state is replaced as
// a whole only between two batches: what was handed out before it must be written before it. After an
// error left is what was not carried out.
func (a *applier) apply(ctx context.Context, tasks []*applyTask) (left []*applyTask, err error) {
	for len(tasks) > 0 {
		n := 0
		for n < len(tasks) && tasks[n].install == nil && !tasks[n].drop {
			n++
		}
		if err := a.applyEntries(ctx, tasks[:n]); err != nil {
			return tasks, err
		}
		if n < len(tasks) {
			if err := a.replace(ctx, tasks[n]); err != nil {
				return tasks[n:], err
			}
			n++
		}
		tasks = tasks[n:]
	}
	return nil, nil
}

// leave answers those who wait for tasks that are not carried out in this life: what is committed is for the next one.
func (a *applier) leave(tasks []*applyTask) {
	for _, t := range tasks {
		for _, o := range t.owners {
			for _, done := range o.done {
				done(ErrUnknown)
				a.m.outcomes.WithLabelValues(outcome(ErrUnknown)).Inc()
			}
		}
	}
}

func (a *applier) applyEntries(ctx context.Context, tasks []*applyTask) error {
	if len(tasks) == 0 {
		return nil
	}
	b := a.st.State().NewBatch()
	defer b.Close()
	for _, t := range tasks {
		if err := a.applyTask(b, t); err != nil {
			return fmt.Errorf("apply shard %d: %w", t.shard, err)
		}
	}
	if err := a.st.CommitState(context.WithoutCancel(ctx), b); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	a.revisions.rotate()
	a.m.revisions.Set(float64(a.revisions.bytes()))
	a.m.applyBatch.Observe(float64(len(a.answers)))
	for i := range a.answers {
		a.answers[i].done(a.answers[i].err)
		a.m.outcomes.WithLabelValues(outcome(a.answers[i].err)).Inc()
	}
	clear(a.answers)
	a.answers = a.answers[:0]
	return nil
}

func (a *applier) applyTask(b *pebble.Batch, t *applyTask) error {
	owners := t.owners
	for i, e := range t.entries {
		if e.GetType() != raftpb.EntryNormal || len(e.Data) == 0 {
			continue
		}
		var done []func(error)
		if len(owners) > 0 && owners[0].entry == i {
			done, owners = owners[0].done, owners[1:]
		}
		if err := a.applyEntry(b, e, done); err != nil {
			return fmt.Errorf("entry %d: %w", e.GetIndex(), err)
		}
	}
	a.row = t.applied.Append(a.row[:0])
	return b.Set(keys.Replica(t.shard), a.row, nil)
}

func (a *applier) applyEntry(b *pebble.Batch, e *raftpb.Entry, done []func(error)) error {
	r := entryReader{b: e.Data}
	epoch, count := r.header()
	for i := range count {
		err := a.applyWrite(b, &r, uint64(epoch) == e.GetTerm())
		if r.bad {
			return errEntry
		}
		if err != nil && err != ErrStale {
			return err
		}
		if i < len(done) {
			a.answers = append(a.answers, answer{done[i], err})
		}
	}
	if r.bad || len(r.b) != 0 {
		return errEntry
	}
	return nil
}

// applyWrite is the fence (invariant I7): a write takes effect only in the term it was made for
// and on the revision it was decided on. Every replica reads the same rows, so all refuse alike.
func (a *applier) applyWrite(b *pebble.Batch, r *entryReader, current bool) error {
	entity, base, head := r.bytes(), r.uvarint(), r.bytes()
	ops := r.count()
	if r.bad {
		return errEntry
	}
	revision, err := a.revisions.at(entity)
	if err != nil {
		return err
	}
	if !current || revision.number != base {
		for range ops {
			r.op()
		}
		return ErrStale
	}
	revision.number = base + 1
	row := b.SetDeferred(len(entity), 8+len(head))
	copy(row.Key, entity)
	binary.BigEndian.PutUint64(row.Value, base+1)
	copy(row.Value[8:], head)
	if err := row.Finish(); err != nil {
		return err
	}
	for range ops {
		op := r.op()
		if r.bad {
			return errEntry
		}
		if err := store.Apply(b, op); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a snapshot in the place of a shard's state, or nothing, durably.
func (a *applier) replace(ctx context.Context, t *applyTask) error {
	a.revisions.forget()
	if t.drop {
		return snapshot.Drop(ctx, a.st, t.shard)
	}
	if err := snapshot.Install(ctx, a.st, t.install); err != nil {
		return fmt.Errorf("install snapshot of shard %d: %w", t.shard, err)
	}
	a.m.snapshots.WithLabelValues("in", "installed").Inc()
	return nil
}
