package shard

import (
	"cmp"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/snapshot"
)

// core is the store loop as a step function: inputs go in, outputs come out. All Raft groups of
// a node live in it. It starts nothing, waits for nothing, reads no clock and writes no disk
// (Raft reads old entries of its own log through raftlog); what it does depends on the order of
// the inputs alone. Host drives it with goroutines, Stepper by hand.
type core struct {
	o       *Options
	m       *metrics
	groups  map[keys.Shard]*group
	order   []*group        // by shard
	dirty   []*group        // stepped since the last pass, in that order
	reads   uint64          // numbers the rounds of reads
	ticking bool            // some group wants ticks
	stalled bool            // the disk does not sync: lead nothing
	full    map[string]bool // nodes whose disks are full, this one's for certain and others' by hint
	down    map[string]bool // nodes that the transport believes gone, and that were not heard since
	closed  bool            // all waits were ended; only the storage still drains
	tails   int             // bytes of all logs that are kept in memory
	out     outputs
	peers   map[string]*[]byte // batch under construction for each node
	reached []string           // nodes that the transport believes alive

	tombs    map[keys.Shard]uint64      // the last replica that was removed here, of shards without one
	removing map[keys.Shard]func(error) // who waits for a replica to be dropped
	// Shards whose state an interrupted removal has left; the first step has it dropped.
	leftovers []keys.Shard
}

// outputs are what one step asks its driver to do. The driver does it in the order of the
// fields and gives the slices back with the next step.
type outputs struct {
	leads     []Lead
	removals  []Removal
	answers   []answer
	reads     []readAnswer
	sends     []send
	log       []*logTask
	apply     []*applyTask
	snapshots []snapshotTask
	discards  []*snapshot.File
	ticking   bool // some group wants ticks
	released  int  // bytes that no longer wait
}

// answer is the end of a proposal or of a change of configuration.
type answer struct {
	done func(error)
	err  error
}

// readAnswer is the end of a read.
type readAnswer struct {
	done  func(Epoch, error)
	epoch Epoch
	err   error
}

// send is one batch for one node.
type send struct {
	node  string
	batch []byte
}

// The inputs of the core beside proposals.
type (
	// received is a batch from another node.
	received struct {
		from  string
		batch []byte
	}
	// tick is one TickInterval.
	tick struct{}
	// logDone says that tasks are durable, in the order in which they were handed out.
	logDone struct{ tasks []*logTask }
	// applyDone says that tasks were applied, in the order in which they were handed out.
	applyDone struct{ tasks []*applyTask }
	// peerChange is what the transport believes of a node.
	peerChange struct {
		node string
		up   bool
	}
	// stall says that the disk stopped syncing, or that it syncs again.
	stall struct{ on bool }
	// flushed says how far each shard's state has reached the disk.
	flushed struct {
		shard keys.Shard
		at    raftlog.Position
	}
	// readRequest asks for a read index.
	readRequest struct {
		shard keys.Shard
		done  func(Epoch, error)
	}
	// confRequest asks for a change of configuration.
	confRequest struct {
		shard   keys.Shard
		since   uint64
		changes []Change
		done    func(error)
	}
	// transferRequest asks the leader to hand over.
	transferRequest struct {
		shard keys.Shard
		to    ReplicaID
	}
	// statusRequest asks how a shard fares.
	statusRequest struct {
		shard keys.Shard
		reply func(Status, error)
	}
	// snapshotSent says how the sending of a snapshot ended.
	snapshotSent struct {
		task snapshotTask
		err  error
	}
	// snapshotReceived is a snapshot that waits on this node's disk.
	snapshotReceived struct {
		shard   keys.Shard
		from    string
		message *raftpb.Message
		applied raftlog.Applied
		file    *snapshot.File
	}
	// replicaAdded is a replica that was just made in this store.
	replicaAdded struct {
		group *group
	}
	// refusal answers a proposal that was refused before it reached the core.
	refusal struct{ answer answer }
	// closing ends every wait.
	closing struct{}
)

func newCore(o *Options, m *metrics) *core {
	return &core{
		o: o, m: m, reads: o.ReadsFrom, groups: map[keys.Shard]*group{}, peers: map[string]*[]byte{},
		full: map[string]bool{}, down: map[string]bool{},
		tombs: map[keys.Shard]uint64{}, removing: map[keys.Shard]func(error){},
	}
}

// step takes inputs and gives what follows from them. The outputs are valid until the next step.
func (c *core) step(inputs []any, proposals []Proposal) *outputs {
	c.out.reset()
	for _, s := range c.leftovers {
		c.onRemovalLogged(s)
	}
	c.leftovers = nil
	for _, in := range inputs {
		c.take(in)
	}
	for i := range proposals {
		c.propose(&proposals[i])
	}
	for len(c.dirty) > 0 {
		dirty := c.dirty
		c.dirty = nil
		for _, g := range dirty {
			g.dirty = false
			if c.groups[g.shard] == g {
				c.advance(g)
			}
		}
	}
	c.boundTails()
	c.collect()
	return &c.out
}

func (c *core) take(in any) {
	switch in := in.(type) {
	case received:
		c.onReceived(in)
	case logDone:
		c.onLogDone(in)
	case applyDone:
		c.onApplyDone(in)
	case readRequest:
		c.onRead(in)
	case tick:
		c.onTick()
	case peerChange:
		c.onPeerChange(in)
	case stall:
		c.onStall(in)
	case spaceChange:
		c.onSpace(in)
	case flushed:
		c.onFlushed(in)
	case confRequest:
		c.onConfRequest(in)
	case transferRequest:
		c.onTransfer(in)
	case statusRequest:
		c.onStatus(in)
	case snapshotSent:
		c.onSnapshotSent(in)
	case snapshotReceived:
		c.onSnapshotReceived(in)
	case replicaAdded:
		c.add(in.group)
	case removeRequest:
		c.onRemove(in)
	case refusal:
		c.answer(in.answer.done, in.answer.err)
	case closing:
		c.onClosing()
	}
}

// add takes a group in. A sole voter campaigns at once: there is nobody to wait for.
func (c *core) add(g *group) {
	c.groups[g.shard] = g
	delete(c.tombs, g.shard)
	g.confChanged = true
	at, _ := slices.BinarySearchFunc(c.order, g, func(a, b *group) int { return int(a.shard) - int(b.shard) })
	c.order = slices.Insert(c.order, at, g)
	c.countTail(g)
	c.boundTails()
	if g.soleVoter() {
		g.campaign()
	}
	c.wake(g)
}

// onSnapshotReceived offers a snapshot to Raft. If Raft wants it, it says so within this step.
func (c *core) onSnapshotReceived(in snapshotReceived) {
	g := c.groups[in.shard]
	if g == nil || g.replica != in.message.GetTo() || g.received != nil || g.install != nil || c.closed {
		c.discard(in.file)
		return
	}
	g.received = &in
	g.heard[in.message.GetFrom()] = in.from
	_ = g.raft.Step(in.message)
	c.wake(g)
}

// mark makes the group's turn come in this step.
func (c *core) mark(g *group) {
	if !g.dirty {
		g.dirty = true
		c.dirty = append(c.dirty, g)
	}
}

// wake ends a group's idleness because there is work for it.
func (c *core) wake(g *group) {
	g.quiesced, g.idleTicks = false, 0
	c.mark(g)
	c.ticking = c.ticking || !g.quiet()
}

// advance lets a group act on what it was given.
func (c *core) advance(g *group) {
	if g.confChanged {
		c.notice(g)
	}
	c.proposeWaiting(g)
	c.startReads(g)
	for g.raft.HasReady() {
		c.handle(g, g.raft.Ready())
	}
	if g.received != nil {
		c.discard(g.received.file)
		g.received = nil
	}
}

// collect moves the batches for other nodes to the outputs, in order of node; those of one node stay in theirs.
func (c *core) collect() {
	for node, batch := range c.peers {
		if len(*batch) > 0 {
			c.out.sends = append(c.out.sends, send{node, *batch})
			*batch = (*batch)[:0]
		}
	}
	slices.SortStableFunc(c.out.sends, func(a, b send) int { return cmp.Compare(a.node, b.node) })
	c.out.ticking = c.ticking
}

// batchFor gives the batch under construction for a replica's node, nil when nobody knows it.
func (c *core) batchFor(g *group, to uint64) *[]byte {
	node := g.nodeOf(to)
	if node == "" {
		c.m.dropped.WithLabelValues(dropUnknownPeer).Inc()
		return nil
	}
	return c.batchTo(node)
}

// batchTo gives the batch under construction for a node. One that is large leaves as it is: the transport takes a batch
// or drops it as a whole, and what all shards have for a node that was away may be more than it ever takes.
func (c *core) batchTo(node string) *[]byte {
	batch := c.peers[node]
	if batch == nil {
		batch = new([]byte)
		c.peers[node] = batch
	}
	if len(*batch) >= c.o.burstBytes() {
		c.out.sends = append(c.out.sends, send{node, *batch})
		*batch = nil
	}
	return batch
}

func (c *core) send(g *group, m *raftpb.Message) {
	if c.keeps(g, m) {
		return
	}
	g.withhold(m)
	if batch := c.batchFor(g, m.GetTo()); batch != nil {
		*batch = appendMessage(*batch, g.shard, m)
	}
}

// onClosing answers all that waits. What may be in the log is unknown; what never was is not.
func (c *core) onClosing() {
	c.closed = true
	for _, g := range c.order {
		c.endTerm(g, ErrClosed)
	}
	c.endRemovals()
}

func (o *outputs) reset() {
	clear(o.leads)
	clear(o.removals)
	clear(o.answers)
	clear(o.reads)
	clear(o.sends)
	clear(o.log)
	clear(o.apply)
	clear(o.snapshots)
	clear(o.discards)
	*o = outputs{
		leads: o.leads[:0], removals: o.removals[:0], answers: o.answers[:0], reads: o.reads[:0], sends: o.sends[:0],
		log: o.log[:0], apply: o.apply[:0], snapshots: o.snapshots[:0], discards: o.discards[:0],
	}
}
