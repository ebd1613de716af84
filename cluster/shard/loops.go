package shard

import (
	"context"
	"errors"
	"time"

	"parley/internal/cadence"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// runCore is the store loop.
func (h *Host) runCore() error {
	var inputs []any
	var proposals []Proposal
	for open := true; open; {
		<-h.inputs.wake
		clear(inputs)
		clear(proposals)
		inputs, open = h.inputs.take(inputs)
		proposals, _ = h.proposals.take(proposals)
		h.pass(inputs, proposals)
	}
	return nil
}

// pass is one turn of the store loop.
func (h *Host) pass(inputs []any, proposals []Proposal) {
	for _, in := range inputs {
		if r, ok := in.(received); ok {
			h.inboxBytes.Add(-int64(len(r.batch)))
		}
	}
	out := h.step(inputs, proposals)
	h.ticking.Store(out.ticking)
	if len(out.log) > 0 {
		h.log.put(out.log...)
	}
	if len(out.apply) > 0 {
		h.apply.put(out.apply...)
	}
	if len(out.snapshots) > 0 {
		h.snapshots.put(out.snapshots...)
	}
}

// runWriter puts the tasks that wait into one batch after another. While it waits for room
// behind the syncs in flight, more tasks gather: that is the group commit.
func (h *Host) runWriter() error {
	defer close(h.syncs)
	for open := true; open; {
		<-h.log.wake
		var tasks []*logTask
		tasks, open = h.log.take(nil)
		if len(tasks) == 0 {
			continue
		}
		h.writing.Store(h.elapsed())
		b, err := h.writer.write(tasks)
		h.writing.Store(0)
		if err != nil {
			h.o.Fatal(err)
			return err
		}
		bytes := 0
		for _, t := range tasks {
			for _, e := range t.write.Entries {
				bytes += len(e.Data)
			}
		}
		if h.logBytes.Add(int64(bytes)) > int64(h.o.FlushBytes) {
			select {
			case h.flush <- struct{}{}:
			default:
			}
		}
		h.syncs <- b
	}
	return nil
}

// runSyncer waits for the batches in the order in which they were written.
func (h *Host) runSyncer() error {
	for b := range h.syncs {
		began := time.Now()
		h.syncing.Store(h.elapsed())
		err := h.writer.wait(b)
		h.syncing.Store(0)
		if err != nil {
			h.o.Fatal(err)
			return err
		}
		h.m.syncSeconds.Observe(time.Since(began).Seconds())
		h.inputs.put(logDone{b.tasks})
	}
	return nil
}

// runApplier applies what was committed. What finds no space when the host closes is the end: it, and what comes
// after it, is for the next Open.
func (h *Host) runApplier(ctx context.Context) error {
	full := false
	for open := true; open; {
		<-h.apply.wake
		var tasks []*applyTask
		tasks, open = h.apply.take(nil)
		if full {
			h.applier.leave(tasks)
			continue
		}
		if len(tasks) == 0 {
			continue
		}
		left, err := h.applier.apply(ctx, tasks)
		if full = errors.Is(err, store.ErrNoSpace); full {
			h.o.Logger.Warn("committed writes were not applied, the next start goes on with them", "err", err)
			h.applier.leave(left)
			continue
		}
		if err != nil {
			h.o.Fatal(err)
			return err
		}
		h.inputs.put(applyDone{tasks})
	}
	return nil
}

// runTicker moves Raft's time while anybody wants it, and watches the disk.
func (h *Host) runTicker(ctx context.Context) error {
	ticker := cadence.NewTicker(h.o.TickInterval)
	defer ticker.Stop()
	stalled := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if now := h.stalledNow(); now != stalled {
			stalled = now
			h.inputs.put(stall{stalled})
			if stalled {
				h.m.stalls.Inc()
				h.o.Logger.Error("log sync has stalled, giving up leadership", "limit", h.o.StallAfter)
			}
		}
		if h.ticking.Load() {
			h.inputs.put(tick{})
		}
	}
}

// elapsed is how many nanoseconds have passed since Open, and one: never 0. Setting the clock does not
// change it.
func (h *Host) elapsed() int64 { return int64(time.Since(h.opened)) + 1 }

// stalledNow says whether the log's disk has been busy with one batch for too long.
func (h *Host) stalledNow() bool {
	now := h.elapsed()
	for _, began := range []int64{h.writing.Load(), h.syncing.Load()} {
		if began != 0 && now-began > int64(h.o.StallAfter) {
			return true
		}
	}
	return false
}

// spaceEvery is how often the host looks how much space is left: often enough that a log cannot grow in
// between by what is kept free.
const spaceEvery = 250 * time.Millisecond

// runSpace watches the space on the disk, on its own: a sick file system may take long to answer.
func (h *Host) runSpace(ctx context.Context) error {
	ticker := cadence.NewTicker(spaceEvery)
	defer ticker.Stop()
	for {
		if now := h.st.Space(time.Now()).Full; h.full.Swap(now) != now {
			h.inputs.put(spaceChange{h.o.Node, now})
			if h.o.Space != nil {
				h.o.Space(now)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-h.st.Starved():
		}
	}
}

// runFlusher makes state durable now and then, so that logs can be truncated and a restart has
// little to replay.
func (h *Host) runFlusher(ctx context.Context) error {
	ticker := time.NewTicker(h.o.FlushInterval)
	defer ticker.Stop()
	known := map[keys.Shard]uint64{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-h.flush:
		}
		if h.logBytes.Swap(0) == 0 {
			continue
		}
		if err := h.st.FlushState(ctx); err != nil {
			if ctx.Err() == nil {
				h.o.Logger.Error("state was not flushed", "err", err)
			}
			continue
		}
		h.reportFlushed(known)
	}
}

// reportFlushed tells the core how far each shard is durable.
func (h *Host) reportFlushed(known map[keys.Shard]uint64) {
	found, err := h.durable(known)
	if err != nil {
		h.o.Fatal(err)
		return
	}
	h.inputs.put(found...)
}

// runSnapshots sends one snapshot at a time.
func (h *Host) runSnapshots(ctx context.Context) error {
	for open := true; open; {
		select {
		case <-ctx.Done():
			return nil
		case <-h.snapshots.wake:
		}
		var tasks []snapshotTask
		tasks, open = h.snapshots.take(nil)
		for _, t := range tasks {
			h.inputs.put(snapshotSent{t, h.sendSnapshot(ctx, t)})
		}
	}
	return nil
}
