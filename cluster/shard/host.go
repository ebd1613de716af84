package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// Host drives all replicas of one node: a loop that steps the core, a writer and a syncer for
// the log, an applier for the state, a ticker, a flusher and a sender of snapshots. Its methods
// are safe for concurrent use.
type Host struct {
	*engine

	// Shared: each is put into by many and taken from by one loop. Bytes that wait are bounded
	// by the budgets of proposals and of received batches.
	inputs    *queue[any]
	proposals *queue[Proposal]
	log       *queue[*logTask]
	apply     *queue[*applyTask]
	snapshots *queue[snapshotTask]
	syncs     chan logBatch // capacity SyncsInFlight, closed by the writer
	flush     chan struct{} // capacity 1: asks for a flush before its time

	inboxBytes atomic.Int64
	logBytes   atomic.Int64 // written since the last flush
	ticking    atomic.Bool
	opened     time.Time
	writing    atomic.Int64 // when the write under way began, by elapsed, 0 none
	syncing    atomic.Int64 // the same for the sync that is waited for

	receiving chan struct{} // capacity 1: snapshots are taken in one at a time
	placing   placing

	stop    context.CancelCauseFunc // ends the loops that have no queue
	loops   errgroup.Group          // ticker, flusher, sender of snapshots
	turns   errgroup.Group          // the store loop
	storage errgroup.Group          // writer, syncer, applier
	once    sync.Once
	closed  error
}

// Open starts every replica that the store holds, and takes over tr, which Close closes. The
// store is the caller's and stays open until Close has returned. A store without replicas is
// no error: AddReplica brings some, and Bootstrap, before Open, a whole cluster.
func Open(st *store.Store, tr transport.Transport, obs Observer, o Options) (*Host, error) {
	if o.ReadsFrom == 0 {
		o.ReadsFrom = rand.Uint64() >> 1 // half of the numbers are left to count on
	}
	e, err := openEngine(st, tr, obs, o)
	if err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	h := &Host{
		engine: e, inputs: newQueue[any](wake), proposals: newQueue[Proposal](wake),
		log: newQueue[*logTask](make(chan struct{}, 1)), apply: newQueue[*applyTask](make(chan struct{}, 1)),
		snapshots: newQueue[snapshotTask](make(chan struct{}, 1)),
		syncs:     make(chan logBatch, o.SyncsInFlight), flush: make(chan struct{}, 1),
		receiving: make(chan struct{}, 1), opened: time.Now(),
	}
	if err := tr.Start(h); err != nil {
		return nil, fmt.Errorf("start transport: %w", err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	h.stop = stop
	h.storage.Go(h.runWriter)
	h.storage.Go(h.runSyncer)
	h.storage.Go(func() error { return h.runApplier(ctx) })
	h.turns.Go(h.runCore)
	h.loops.Go(func() error { return h.runTicker(ctx) })
	h.loops.Go(func() error { return h.runFlusher(ctx) })
	h.loops.Go(func() error { return h.runSpace(ctx) })
	h.loops.Go(func() error { return h.runSnapshots(ctx) })
	h.inputs.nudge() // sole voters campaign at once
	return h, nil
}

// Close ends every wait (ErrClosed for what was never proposed, ErrUnknown for what may be in
// the log), lets the disk finish what it was given, flushes the state so that the next Open has
// nothing to replay, if there is space, and waits for every goroutine.
func (h *Host) Close() error {
	h.once.Do(func() { h.closed = h.shutdown() })
	return h.closed
}

func (h *Host) shutdown() error {
	err := h.tr.Close()
	h.stop(ErrClosed)
	h.snapshots.close()
	err = errors.Join(err, h.loops.Wait())
	h.inputs.put(closing{})
	h.proposals.close()
	h.inputs.close()
	err = errors.Join(err, h.turns.Wait())
	h.st.Hurry() // what waits for space now will not get it
	h.log.close()
	h.apply.close()
	err = errors.Join(err, h.storage.Wait())
	if err != nil {
		return fmt.Errorf("close shards: %w", err)
	}
	return h.lastFlush()
}

// lastFlushMax is how long the flush at the end may take. What is not flushed is replayed.
const lastFlushMax = 30 * time.Second

func (h *Host) lastFlush() error {
	if h.st.Space(time.Now()).Full {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastFlushMax)
	defer cancel()
	err := h.st.FlushState(ctx)
	if errors.Is(err, store.ErrNoSpace) || ctx.Err() != nil {
		h.o.Logger.Warn("state was not flushed, the next start replays the log", "err", err)
		return nil
	}
	return err
}

// Propose hands a write to the shard's leader on this node. Done is called exactly once, also
// for what is refused at once; after Close by the caller's own goroutine.
func (h *Host) Propose(p Proposal) {
	if err := h.admit(&p); err != nil {
		if !h.inputs.put(refusal{answer{p.Done, err}}) {
			p.Done(ErrClosed)
		}
		return
	}
	if !h.proposals.put(p) {
		h.waiting.Add(-int64(sizeOf(&p.Write)))
		p.Done(ErrClosed)
	}
}

// ReadIndex calls done once this replica has applied everything that was committed when
// ReadIndex was called, with the epoch in which that was found out; or with ErrNotLeader when
// no leader confirmed it (the read may be tried again), ErrNoReplica, ErrOverloaded or
// ErrClosed. All reads that wait in a shard share a round trip; a sole voter needs none. done
// must not block.
func (h *Host) ReadIndex(s keys.Shard, done func(epoch Epoch, err error)) {
	if !h.inputs.put(readRequest{s, done}) {
		done(0, ErrClosed)
	}
}

// ChangeConf changes a shard's configuration; only its leader does. done hears nil once the
// change has taken effect here, ErrUnknown when leadership was lost before, and otherwise why
// it was refused. One change at a time (ErrChangeInFlight), and a voter must be a learner
// first that has caught up (ErrNotCaughtUp). since is the Configured of the Status that the change was
// decided on, so that a change which comes late is refused (ErrChangedSince); 0 = whatever it is now.
func (h *Host) ChangeConf(s keys.Shard, since uint64, changes []Change, done func(error)) {
	if !h.inputs.put(confRequest{s, since, changes, done}) {
		done(ErrClosed)
	}
}

// Transfer asks the shard's leader, when it is this node, to hand over to another voter. The
// observer hears when that has happened; after an election's time the attempt is given up.
func (h *Host) Transfer(s keys.Shard, to ReplicaID) { h.inputs.put(transferRequest{s, to}) }

// Status says how a shard fares, as its replica here sees it.
func (h *Host) Status(ctx context.Context, s keys.Shard) (Status, error) {
	type found struct {
		status Status
		err    error
	}
	reply := make(chan found, 1) // one answer, which never waits
	if !h.inputs.put(statusRequest{s, func(s Status, err error) { reply <- found{s, err} }}) {
		return Status{}, ErrClosed
	}
	select {
	case f := <-reply:
		return f.status, f.err
	case <-ctx.Done():
		return Status{}, context.Cause(ctx)
	}
}

// AddReplica makes an empty replica of a shard here, durably. It votes for nobody and applies
// nothing until the shard's leader, told by AddLearner, has sent it a snapshot (invariant I5).
// ErrExists when the store has a replica of the shard, also one that is still being made or dropped,
// or the id has ever been removed here.
func (h *Host) AddReplica(s keys.Shard, id ReplicaID) error {
	if busy := h.placing.enter(s); busy != nil {
		return fmt.Errorf("add replica %d of shard %d, of which one is being made or dropped: %w", id, s, ErrExists)
	}
	defer h.placing.leave(s)
	g, err := h.newReplica(s, id)
	if err != nil {
		return err
	}
	if !h.inputs.put(replicaAdded{g}) {
		return ErrClosed
	}
	return nil
}

// RemoveReplica drops a replica for ever: its log and state, and its id, which AddReplica refuses
// from then on. It returns when all that is durable; ErrClosed means that the next Open goes on
// with it, and the end of ctx that it goes on without the caller: on a full disk, until there is space.
// Removing again is no error; ErrNoReplica says that another replica, or none, is here.
//
// It asks nobody. The caller knows that the shard's configuration has the replica no more: from
// Options.Removed with Confirmed set, or from the Status of a leader elsewhere.
func (h *Host) RemoveReplica(ctx context.Context, s keys.Shard, id ReplicaID) error {
	for busy := h.placing.enter(s); busy != nil; busy = h.placing.enter(s) {
		select {
		case <-busy:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	done := make(chan error, 1) // one answer, also when nobody waits any more
	if !h.inputs.put(removeRequest{s, id, func(err error) { h.placing.leave(s); done <- err }}) {
		h.placing.leave(s)
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Receive implements transport.Handler.
func (h *Host) Receive(from string, batch []byte) {
	if h.inboxBytes.Add(int64(len(batch))) > int64(h.o.InboxBytesMax) {
		h.inboxBytes.Add(-int64(len(batch)))
		h.m.dropped.WithLabelValues(dropInboxFull).Inc()
		return
	}
	h.inputs.put(received{from, batch})
}

// ReceiveSnapshot implements transport.Handler.
func (h *Host) ReceiveSnapshot(ctx context.Context, from string, header []byte, body io.Reader) error {
	select {
	case h.receiving <- struct{}{}:
		defer func() { <-h.receiving }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	in, err := h.receiveSnapshot(ctx, from, header, body)
	if err != nil {
		return err
	}
	if !h.inputs.put(in) {
		return errors.Join(ErrClosed, in.file.Remove())
	}
	return nil
}

// PeerSpace says that the disk of another node has become full, or has space again. It is a hint: the
// shards led here spare that node, and none is handed over to it.
func (h *Host) PeerSpace(node string, full bool) {
	if node != h.o.Node {
		h.inputs.put(spaceChange{node, full})
	}
}

// Full says that this node's disk is full, as Options.Space was told.
func (h *Host) Full() bool { return h.full.Load() }

// PeerUp implements transport.Handler.
func (h *Host) PeerUp(node string) { h.inputs.put(peerChange{node, true}) }

// PeerDown implements transport.Handler.
func (h *Host) PeerDown(node string) { h.inputs.put(peerChange{node, false}) }
