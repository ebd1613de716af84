package shard

import (
	"context"
	"fmt"
	"io"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// Stepper drives the same core, log writer and applier as Host, without a goroutine: nothing
// happens until its owner says so, and each durable completion happens when its owner lets it.
// A simulation that draws its choices from a seed gets the same history every time.
//
//	s, _ := shard.OpenStepper(st, network.Endpoint("n1"), observer, options)
//	s.Propose(p)        // queued
//	s.Step()            // the core runs; work for the disk waits
//	s.WriteLog()        // one batch for all groups is in the log, perhaps lost by a crash now
//	s.SyncLog()         // it is durable; its responses are queued
//	s.Step()            // Raft commits; work for the state waits
//	s.Apply()           // the state changes, p.Done is called
//	s.Step()            // readiness, reads
//	s.Tick()            // one TickInterval has passed
//
// Idle says that nothing is left to do but ticks and messages. A crash is: forget the Stepper,
// open a store on what the crash left, open a new Stepper. Raft draws election timeouts from
// crypto/rand: testing/cryptotest.SetGlobalRandom makes those repeatable, too.
//
// A Stepper belongs to one goroutine.
type Stepper struct {
	*engine
	inputs    []any
	proposals []Proposal
	log       []*logTask
	syncs     []logBatch
	tasks     []*applyTask
	snapshots []snapshotTask
	known     map[keys.Shard]uint64 // what was reported as flushed
}

// OpenStepper opens every replica that the store holds. The store stays the caller's.
func OpenStepper(st *store.Store, tr transport.Transport, obs Observer, o Options) (*Stepper, error) {
	e, err := openEngine(st, tr, obs, o)
	if err != nil {
		return nil, err
	}
	s := &Stepper{engine: e, known: map[keys.Shard]uint64{}}
	if err := tr.Start(s); err != nil {
		return nil, fmt.Errorf("start transport: %w", err)
	}
	return s, nil
}

// Propose queues a proposal, as Host.Propose does.
func (s *Stepper) Propose(p Proposal) {
	if err := s.admit(&p); err != nil {
		s.inputs = append(s.inputs, refusal{answer{p.Done, err}})
		return
	}
	s.proposals = append(s.proposals, p)
}

// ReadIndex queues a read, as Host.ReadIndex does.
func (s *Stepper) ReadIndex(shard keys.Shard, done func(Epoch, error)) {
	s.inputs = append(s.inputs, readRequest{shard, done})
}

// ChangeConf queues a change of configuration, as Host.ChangeConf does.
func (s *Stepper) ChangeConf(shard keys.Shard, since uint64, changes []Change, done func(error)) {
	s.inputs = append(s.inputs, confRequest{shard, since, changes, done})
}

// Transfer queues a transfer of leadership, as Host.Transfer does.
func (s *Stepper) Transfer(shard keys.Shard, to ReplicaID) {
	s.inputs = append(s.inputs, transferRequest{shard, to})
}

// AddReplica makes an empty replica, as Host.AddReplica does.
func (s *Stepper) AddReplica(shard keys.Shard, id ReplicaID) error {
	g, err := s.newReplica(shard, id)
	if err == nil {
		s.inputs = append(s.inputs, replicaAdded{g})
	}
	return err
}

// Status says how a shard fares, at once.
func (s *Stepper) Status(shard keys.Shard) (status Status, err error) {
	s.core.onStatus(statusRequest{shard, func(found Status, failed error) { status, err = found, failed }})
	return status, err
}

// RemoveReplica queues the dropping of a replica, as Host.RemoveReplica does; done is called when
// all of it is durable. No replica of the shard may be added before.
func (s *Stepper) RemoveReplica(shard keys.Shard, id ReplicaID, done func(error)) {
	s.inputs = append(s.inputs, removeRequest{shard, id, done})
}

// Receive implements transport.Handler.
func (s *Stepper) Receive(from string, batch []byte) {
	s.inputs = append(s.inputs, received{from, batch})
}

// ReceiveSnapshot implements transport.Handler.
func (s *Stepper) ReceiveSnapshot(ctx context.Context, from string, header []byte, body io.Reader) error {
	in, err := s.receiveSnapshot(ctx, from, header, body)
	if err == nil {
		s.inputs = append(s.inputs, in)
	}
	return err
}

// PeerUp implements transport.Handler.
func (s *Stepper) PeerUp(node string) { s.inputs = append(s.inputs, peerChange{node, true}) }

// PeerDown implements transport.Handler.
func (s *Stepper) PeerDown(node string) { s.inputs = append(s.inputs, peerChange{node, false}) }

// Tick queues the passing of one TickInterval.
func (s *Stepper) Tick() { s.inputs = append(s.inputs, tick{}) }

// Ticking says that some group wants ticks: a Host's clock stands while none does.
func (s *Stepper) Ticking() bool { return s.core.ticking }

// Stall queues what the disk watchdog says.
func (s *Stepper) Stall(on bool) { s.inputs = append(s.inputs, stall{on}) }

// Space queues what is known of the space on a node's disk, this one's or another's.
func (s *Stepper) Space(node string, full bool) {
	if node == s.o.Node {
		s.full.Store(full)
	}
	s.inputs = append(s.inputs, spaceChange{node, full})
}

// Step runs the core over everything that is queued. It reports whether there was anything, or
// anything came of it.
func (s *Stepper) Step() bool {
	inputs, proposals := s.inputs, s.proposals
	s.inputs, s.proposals = nil, nil
	out := s.step(inputs, proposals)
	s.log = append(s.log, out.log...)
	s.tasks = append(s.tasks, out.apply...)
	s.snapshots = append(s.snapshots, out.snapshots...)
	return len(inputs)+len(proposals)+len(out.log)+len(out.apply)+len(out.snapshots) > 0
}

// WriteLog puts everything that waits for the log into one batch, which a crash may lose until
// SyncLog. False when nothing waits.
func (s *Stepper) WriteLog() bool {
	if len(s.log) == 0 {
		return false
	}
	b, err := s.writer.write(s.log)
	if err != nil {
		s.o.Fatal(err)
		return false
	}
	s.syncs, s.log = append(s.syncs, b), nil
	return true
}

// SyncLog waits until the oldest written batch is durable and queues its responses. False when
// none is written.
func (s *Stepper) SyncLog() bool {
	if len(s.syncs) == 0 {
		return false
	}
	b := s.syncs[0]
	s.syncs = s.syncs[1:]
	if err := s.writer.wait(b); err != nil {
		s.o.Fatal(err)
		return false
	}
	s.inputs = append(s.inputs, logDone{b.tasks})
	return true
}

// Apply carries out everything that is committed and calls those who wait. False when nothing is.
func (s *Stepper) Apply(ctx context.Context) bool {
	if len(s.tasks) == 0 {
		return false
	}
	tasks := s.tasks
	s.tasks = nil
	if _, err := s.applier.apply(ctx, tasks); err != nil {
		s.o.Fatal(err)
		return false
	}
	s.inputs = append(s.inputs, applyDone{tasks})
	return true
}

// SendSnapshot sends the oldest snapshot that was asked for, as the state is now. False when
// none was.
func (s *Stepper) SendSnapshot(ctx context.Context) bool {
	if len(s.snapshots) == 0 {
		return false
	}
	t := s.snapshots[0]
	s.snapshots = s.snapshots[1:]
	s.inputs = append(s.inputs, snapshotSent{t, s.sendSnapshot(ctx, t)})
	return true
}

// Flush makes the state durable and queues what can be truncated because of it.
func (s *Stepper) Flush(ctx context.Context) error {
	if err := s.st.FlushState(ctx); err != nil {
		return err
	}
	found, err := s.durable(s.known)
	s.inputs = append(s.inputs, found...)
	return err
}

// Idle says that nothing is queued for the core, the disk or the state.
func (s *Stepper) Idle() bool {
	return len(s.inputs)+len(s.proposals)+len(s.log)+len(s.syncs)+len(s.tasks)+len(s.snapshots) == 0
}

// Settle steps, writes, syncs, applies and sends until Idle.
func (s *Stepper) Settle(ctx context.Context) {
	for s.Step() || s.WriteLog() || s.SyncLog() || s.Apply(ctx) || s.SendSnapshot(ctx) {
	}
}

// Close ends every wait, as Host.Close does, and lets go of the transport. What waits for the
// disk is lost, as in a crash.
func (s *Stepper) Close() error {
	s.inputs = append(s.inputs, closing{})
	s.Step()
	for s.SyncLog() { // Pebble holds what was written until it is waited for
	}
	return s.tr.Close()
}
