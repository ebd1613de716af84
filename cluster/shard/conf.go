package shard

import (
	"errors"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"parley/internal/invariant"
	"parley/persistence/raftlog"
)

// The refusals of a change of configuration, beside ErrNotLeader and ErrNoReplica.
var (
	ErrChangeInFlight = errors.New("another change of this shard's configuration is in flight")
	ErrNotCaughtUp    = errors.New("replica is not a learner that has caught up")
	ErrBadChange      = errors.New("change of configuration makes no sense")
	ErrChangedSince   = errors.New("the configuration has changed since the change was decided on")
)

// ChangeKind tells the kinds of Change apart.
type ChangeKind byte

// The kinds of Change.
const (
	// AddLearner makes a replica that is in no configuration a learner; it gets a snapshot.
	AddLearner ChangeKind = 1
	// AddVoter makes a learner that has caught up a voter.
	AddVoter ChangeKind = 2
	// Remove takes a replica out. Its id never comes back. A voter first becomes a learner, together with
	// the other changes, and is taken out by a change of its own after that.
	Remove ChangeKind = 3

	// demote makes a voter a learner, see stages.
	demote ChangeKind = 4
)

// Change is one part of a change of configuration. All changes of one call take effect together,
// through a joint configuration when there are several or a voter leaves; voters that leave are learners from there on,
// and are taken out by a second change.
type Change struct {
	Kind    ChangeKind
	Replica ReplicaID
	Node    string // where the replica lives; for AddLearner
}

// pendingChange is the one change that a group has in flight (invariant I10).
type pendingChange struct {
	done    func(error)
	entered bool     // applied; a joint configuration may still have to be left
	then    []Change // the second stage
}

// stages splits a change that takes voters out. A voter that has left is destroyed as soon as one member
// has applied that it left; but then the others may know of the commit in memory alone, and after a power
// cut they are back in the joint configuration and need its vote. The change that takes it out as
// a learner is proposed when the leader has applied the end of the joint configuration, and carries that
// commit: whoever acknowledges it has both on its disk.
func stages(g *group, changes []Change) (first, second []Change) {
	for _, ch := range changes {
		if ch.Kind == Remove && slices.Contains(g.conf.GetVoters(), uint64(ch.Replica)) {
			second = append(second, ch)
			ch.Kind = demote
		}
		first = append(first, ch)
	}
	return first, second
}

func (c *core) onConfRequest(in confRequest) {
	g := c.groups[in.shard]
	if g == nil {
		c.answer(in.done, ErrNoReplica)
		return
	}
	if err := c.allowChange(g, &in); err != nil {
		c.answer(in.done, err)
		return
	}
	first, second := stages(g, in.changes)
	if err := c.proposeChange(g, first); err != nil {
		c.answer(in.done, err)
		return
	}
	g.change = &pendingChange{done: in.done, then: second}
}

func (c *core) proposeChange(g *group, changes []Change) error {
	change, err := encodeChanges(g, changes)
	if err != nil {
		return err
	}
	if err := g.raft.ProposeConfChange(change); err != nil {
		return c.proposalError(g, err)
	}
	c.wake(g)
	return nil
}

// allowChange is the guard of invariant I10: one change at a time, and no voter that has not
// caught up, so that a quorum is never made of replicas that hold nothing. A change that was decided on
// an earlier configuration could bring back a replica that has been removed (invariant I4).
func (c *core) allowChange(g *group, in *confRequest) error {
	if c.closed {
		return ErrClosed
	}
	if !g.ready() {
		return ErrNotLeader
	}
	if g.change != nil || len(g.conf.GetVotersOutgoing()) > 0 {
		return ErrChangeInFlight
	}
	if in.since != 0 && in.since != g.configured {
		return ErrChangedSince
	}
	if len(in.changes) == 0 {
		return ErrBadChange
	}
	voters := len(g.conf.GetVoters())
	seen := map[ReplicaID]bool{}
	for _, ch := range in.changes {
		known := slices.ContainsFunc(g.members, func(m raftlog.Member) bool { return m.Replica == uint64(ch.Replica) })
		voter := slices.Contains(g.conf.GetVoters(), uint64(ch.Replica))
		switch {
		case ch.Replica == 0 || seen[ch.Replica] || ch.Kind < AddLearner || ch.Kind > Remove,
			ch.Kind == AddLearner && (known || ch.Node == ""), ch.Kind == Remove && !known, ch.Kind == AddVoter && voter:
			return ErrBadChange
		case ch.Kind == AddVoter && !c.caughtUp(g, uint64(ch.Replica)):
			return ErrNotCaughtUp
		case ch.Kind == AddVoter:
			voters++
		case ch.Kind == Remove && voter:
			voters--
		}
		seen[ch.Replica] = true
	}
	if voters < 1 {
		return ErrBadChange
	}
	return nil
}

func (c *core) caughtUp(g *group, replica uint64) bool {
	found, commit := false, g.raft.BasicStatus().GetCommit()
	g.raft.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		if id == replica && kind == raft.ProgressTypeLearner {
			found = p.State == tracker.StateReplicate && p.Match+uint64(c.o.CaughtUpEntries) >= commit
		}
	})
	return found
}

// encodeChanges puts the members' nodes into the context, from where every replica learns them.
func encodeChanges(g *group, changes []Change) (*raftpb.ConfChangeV2, error) {
	cc := &raftpb.ConfChangeV2{}
	members := slices.Clone(g.members)
	for _, ch := range changes {
		kind := raftpb.ConfChangeRemoveNode
		switch ch.Kind {
		case AddLearner:
			kind = raftpb.ConfChangeAddLearnerNode
			members = append(members, raftlog.Member{Replica: uint64(ch.Replica), Node: ch.Node})
		case demote:
			kind = raftpb.ConfChangeAddLearnerNode
			// Also when it is alone: only of a joint configuration does the leaving hear last that it is over (see parting).
			cc.Transition = raftpb.ConfChangeTransitionJointImplicit.Enum()
		case AddVoter:
			kind = raftpb.ConfChangeAddNode
		}
		cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(uint64(ch.Replica))})
	}
	slices.SortFunc(members, func(a, b raftlog.Member) int { return int(a.Replica) - int(b.Replica) })
	cc.Context = raftlog.Applied{Members: members}.Encode()
	if _, err := proto.Marshal(cc); err != nil {
		return nil, err
	}
	return cc, nil
}

// applyConf lets Raft follow a committed change. The configuration goes to the state with the
// entries that it is handed out with, in the same batch as the applied index (invariant I3).
func (c *core) applyConf(g *group, e *raftpb.Entry) {
	cc, err := decodeConf(e)
	invariant.That(err == nil, "shard %d: change of configuration at %d: %v", g.shard, e.GetIndex(), err)
	g.configure(g.raft.ApplyConfChange(cc), e.GetIndex())
	members := g.members
	if len(cc.Context) > 0 {
		row, err := raftlog.DecodeApplied(cc.Context)
		invariant.That(err == nil, "shard %d: members at %d: %v", g.shard, e.GetIndex(), err)
		members = row.Members
	}
	// Who is in no set any more is no member; in a joint configuration the leaving still are.
	g.members = nil
	for _, m := range members {
		for _, set := range [][]uint64{g.conf.Voters, g.conf.Learners, g.conf.VotersOutgoing, g.conf.LearnersNext} {
			if slices.Contains(set, m.Replica) {
				g.members = append(g.members, m)
				break
			}
		}
	}
	c.askAgain(g)
}

// finishChange answers the change in flight once it has taken effect on this replica and no
// joint configuration is left.
func (c *core) finishChange(g *group, t *applyTask) {
	switch {
	case g.change == nil:
		return
	case t.refused && !g.change.entered:
		c.answer(g.change.done, ErrChangeInFlight)
		g.change = nil
		return
	case t.change:
		g.change.entered = true
	}
	if !g.change.entered || len(g.log.Applied().Conf.GetVotersOutgoing()) > 0 {
		return
	}
	var err error
	done, second := g.change.done, g.change.then
	if len(second) > 0 {
		if err = c.proposeChange(g, second); err == nil {
			g.change = &pendingChange{done: done}
			return
		}
	}
	c.answer(done, err)
	g.change = nil
}

// onTransfer starts to hand leadership over; the observer hears when it has moved. Raft gives up
// by itself after an election's time, and refuses writes until then: so nothing is handed to a node
// that cannot be reached, or whose disk is full.
func (c *core) onTransfer(in transferRequest) {
	g := c.groups[in.shard]
	if g == nil || !g.leads() || !c.stores(g, uint64(in.to)) {
		return
	}
	g.raft.TransferLeader(uint64(in.to))
	c.wake(g)
}
