package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/time/rate"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/snapshot"
	"parley/persistence/store"
)

// engine is what Host and Stepper have in common: the core with its disk, network and observer.
// It has no goroutine; whoever drives it calls step, write, sync and apply.
type engine struct {
	// Fixed at open.
	o    Options
	m    *metrics
	st   *store.Store
	tr   transport.Transport
	obs  Observer
	core *core

	writer  logWriter
	applier *applier
	pace    *rate.Limiter // of the snapshots that are sent

	waiting atomic.Int64 // bytes of writes without an outcome
	full    atomic.Bool  // this node's disk is

	cramped cramped // owned by who receives a snapshot, which is one at a time

	mu    sync.RWMutex // guards leads
	leads map[keys.Shard]Lead
}

// snapshotBurst is how much of a snapshot goes out at once.
const snapshotBurst = 256 << 10

func openEngine(st *store.Store, tr transport.Transport, obs Observer, o Options) (*engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("shard metrics: %w", err)
	}
	e := &engine{o: o, m: m, st: st, tr: tr, obs: obs, leads: map[keys.Shard]Lead{}, cramped: cramped{}}
	e.core = newCore(&e.o, m)
	e.pace = rate.NewLimiter(rate.Inf, snapshotBurst)
	if o.SnapshotBytesPerSecond > 0 {
		e.pace = rate.NewLimiter(rate.Limit(o.SnapshotBytesPerSecond), min(o.SnapshotBytesPerSecond, snapshotBurst))
	}
	e.writer = logWriter{db: st.Log(), m: m}
	e.applier = newApplier(st, m, o.RevisionsMax)
	local, err := localReplicas(st)
	if err != nil {
		return nil, err
	}
	for _, l := range local {
		if l.Removed {
			if err := e.openTombstone(l); err != nil {
				return nil, err
			}
			continue
		}
		g, err := openGroup(st, &e.o, l.shard, l.Replica)
		if err != nil {
			return nil, err
		}
		e.core.add(g)
		e.leads[l.shard] = Lead{Shard: l.shard}
	}
	return e, nil
}

// step runs the core and does what needs no disk: it tells the observer, answers and sends.
func (e *engine) step(inputs []any, proposals []Proposal) *outputs {
	out := e.core.step(inputs, proposals)
	if out.released > 0 {
		e.m.waiting.Set(float64(e.waiting.Add(-int64(out.released))))
	}
	for _, lead := range out.leads {
		e.setLead(lead)
		e.obs.LeadChanged(lead)
	}
	for _, r := range out.removals {
		e.o.Logger.Info("replica was removed from its shard", "shard", r.Shard, "replica", r.Replica, "confirmed", r.Confirmed)
		if e.o.Removed != nil {
			e.o.Removed(r)
		}
	}
	for _, a := range out.answers {
		a.done(a.err)
	}
	for _, r := range out.reads {
		r.done(r.epoch, r.err)
	}
	for _, s := range out.sends {
		e.tr.Send(s.node, s.batch)
	}
	for _, f := range out.discards {
		if err := f.Remove(); err != nil {
			e.o.Logger.Warn("snapshot file stays", "err", err)
		}
	}
	return out
}

func (e *engine) setLead(l Lead) {
	e.mu.Lock()
	e.leads[l.Shard] = l
	e.mu.Unlock()
	if l.Local && l.Ready {
		e.o.Logger.Debug("leading", "shard", l.Shard, "epoch", l.Epoch)
	}
}

// Lead says who leads a shard, as this node knows it.
func (e *engine) Lead(s keys.Shard) Lead {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if l, ok := e.leads[s]; ok {
		return l
	}
	return Lead{Shard: s}
}

// Reader reads the applied state of all shards.
func (e *engine) Reader() store.Reader { return e.st.Reader() }

// admit counts a proposal against the node's budget, or says why it may not enter.
func (e *engine) admit(p *Proposal) error {
	size := sizeOf(&p.Write)
	if size > WriteBytesMax {
		return ErrTooLarge
	}
	if err := check(p.Shard, &p.Write); err != nil {
		return err
	}
	if e.waiting.Add(int64(size)) > int64(e.o.NodeBytesMax) {
		e.waiting.Add(-int64(size))
		return ErrOverloaded
	}
	return nil
}

// durable finds how far each shard's state is durable, beyond what is known already.
func (e *engine) durable(known map[keys.Shard]uint64) ([]any, error) {
	e.mu.RLock()
	shards := make([]keys.Shard, 0, len(e.leads))
	for s := range e.leads {
		shards = append(shards, s)
	}
	e.mu.RUnlock()
	slices.Sort(shards)
	var found []any
	for _, s := range shards {
		row, ok, err := e.st.DurableApplied(s)
		if err != nil {
			return nil, fmt.Errorf("durable state of shard %d: %w", s, err)
		}
		if !ok {
			continue
		}
		applied, err := raftlog.DecodeApplied(row)
		if err != nil {
			return nil, fmt.Errorf("durable state of shard %d: %w", s, err)
		}
		if applied.Index > known[s] {
			known[s] = applied.Index
			found = append(found, flushed{s, applied.Position})
		}
	}
	return found, nil
}

// sendSnapshot streams a shard's state as it is now. What says how far it goes is the replica
// row in the stream itself.
func (e *engine) sendSnapshot(ctx context.Context, t snapshotTask) error {
	reader, err := e.st.Snapshot()
	if err != nil {
		return fmt.Errorf("send snapshot of shard %d: %w", t.shard, err)
	}
	header := appendMessage(nil, t.shard, &raftpb.Message{
		Type: raftpb.MsgSnap.Enum(), To: new(uint64(t.to)), From: new(t.from), Term: new(t.term),
	})
	err = e.tr.SendSnapshot(ctx, t.node, header, func(w io.Writer) error {
		_, err := snapshot.Write(ctx, snapshot.Pace(ctx, w, e.pace), reader, t.shard)
		return err
	})
	if closeErr := reader.Close(); err == nil {
		err = closeErr
	}
	result := "sent"
	if err != nil {
		result = "failed"
		e.o.Logger.Warn("snapshot not sent", "shard", t.shard, "node", t.node, "err", err)
	}
	e.m.snapshots.WithLabelValues("out", result).Inc()
	return err
}

// receiveSnapshot takes a stream to this node's disk and makes the message of it that Raft
// expects.
func (e *engine) receiveSnapshot(ctx context.Context, from string, header []byte, body io.Reader) (snapshotReceived, error) {
	var message *raftpb.Message
	in := snapshotReceived{from: from}
	err := readBatch(header, func(it item) { in.shard, message = it.shard, it.message })
	if err != nil || message.GetType() != raftpb.MsgSnap {
		return in, errBatch
	}
	file, err := e.receiveFile(ctx, in.shard, body)
	if err != nil {
		result := "failed"
		if errors.Is(err, ErrNoSpace) {
			result = "no_space"
		}
		e.m.snapshots.WithLabelValues("in", result).Inc()
		return in, fmt.Errorf("receive snapshot of shard %d: %w", in.shard, err)
	}
	if in.applied, err = raftlog.DecodeApplied(file.Replica); err != nil {
		_ = file.Remove() // the row is bad, and with it the file: its remains are swept at the next open
		return in, fmt.Errorf("receive snapshot of shard %d: %w", in.shard, err)
	}
	message.Snapshot = raftpb.EnsureSnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(in.applied.Index), Term: new(in.applied.Term), ConfState: in.applied.Conf,
	}})
	in.file, in.message = file, message
	return in, nil
}

// receiveFile takes a stream to this node's disk, unless it is known to have no space for it.
func (e *engine) receiveFile(ctx context.Context, s keys.Shard, body io.Reader) (*snapshot.File, error) {
	before := e.st.LastSpace()
	if before.Known && e.cramped.refuses(s, before.FreeBytes) {
		return nil, ErrNoSpace
	}
	file, err := snapshot.Receive(ctx, spacious{body, &e.full}, e.st.FS(), e.st.IncomingDir(), s)
	filled := !before.Full && e.st.LastSpace().Full // by this attempt, as far as can be told
	if before.Known && !before.Full {
		e.cramped.tried(s, before.FreeBytes, err == nil || !filled)
	}
	if err != nil && filled {
		err = errors.Join(ErrNoSpace, err)
	}
	return file, err
}

// spacious is a stream that ends with ErrNoSpace when the disk that it goes to is full.
type spacious struct {
	io.Reader
	full *atomic.Bool
}

// Read implements io.Reader.
func (s spacious) Read(p []byte) (int, error) {
	if s.full.Load() {
		return 0, ErrNoSpace
	}
	return s.Reader.Read(p)
}
