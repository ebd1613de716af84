package shard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/cluster/transport"
	"parley/persistence/keys"
)

// storm lets a seed choose what happens next: every order of steps, disk completions, packets
// and crashes is as good as any other, and none may lose what was acknowledged.
//
// A seed is repeated by -storm.seed n -storm.seeds 1, as far as Pebble's own goroutines allow: how
// much of what was not synced a crash leaves may differ.
type storm struct {
	*scripted
	rng   *rand.Rand
	next  map[byte]uint64        // the base to propose next, by conversation
	acked map[byte]uint64        // the highest acknowledged revision
	busy  map[byte]*scriptedNode // where its one write in flight was proposed
	id    ReplicaID              // the last one given away
	taken map[ReplicaID]bool     // whose removal was asked for
}

func newStorm(t *testing.T, seed uint64) *storm {
	cryptotest.SetGlobalRandom(t, seed)
	return &storm{
		scripted: &scripted{t: t, network: transport.NewMemory(), nodes: map[string]*scriptedNode{}, gone: map[string]ReplicaID{}},
		id:       13, taken: map[ReplicaID]bool{},
		rng:  rand.New(rand.NewPCG(seed, 1)),
		next: map[byte]uint64{}, acked: map[byte]uint64{}, busy: map[byte]*scriptedNode{},
	}
}

// propose sends the next event of some conversation to a node that thinks it leads, as an
// activation does: one write at a time, and after an unknown outcome by what the state says.
func (s *storm) propose(n *scriptedNode) {
	conversation := byte(1 + s.rng.IntN(4))
	lead := n.Lead(1)
	if s.busy[conversation] != nil || !lead.Ready {
		return
	}
	base := revisionOf(s.t, n.Reader(), post(1, conversation, 0))
	s.busy[conversation] = n
	n.Propose(Proposal{Shard: 1, Epoch: lead.Epoch, Write: post(1, conversation, base), Done: func(err error) {
		delete(s.busy, conversation)
		if err == nil {
			if base+1 <= s.acked[conversation] {
				s.t.Errorf("conversation %d: revision %d acknowledged twice", conversation, base+1)
			}
			s.acked[conversation] = base + 1
		}
	}})
}

// act does one random thing on a node.
func (s *storm) act(n *scriptedNode) {
	ctx := context.Background()
	switch s.rng.IntN(12) {
	case 0, 1, 2:
		s.propose(n)
	case 3, 4, 5:
		n.Step()
	case 6, 7:
		n.WriteLog()
	case 8, 9:
		n.SyncLog()
	case 10:
		n.Apply(ctx)
	case 11:
		n.SendSnapshot(ctx)
		if s.rng.IntN(8) == 0 {
			if err := n.Flush(ctx); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// crashNode loses a random part of what a node had not synced, and starts it again.
func (s *storm) crashNode(n *scriptedNode) {
	left := n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: s.rng.IntN(101), RNG: s.rng})
	acked := map[byte]uint64{}
	for c, revision := range s.acked {
		acked[c] = revision
	}
	n.stop()
	s.acked = acked // what the dead still said was heard by nobody
	for c, at := range s.busy {
		if at == n {
			delete(s.busy, c)
		}
	}
	s.open(n.name, left, 0)
}

// check says that every acknowledged write is in a node's state, once, without holes.
func (s *storm) check(n *scriptedNode) {
	s.t.Helper()
	for conversation := byte(1); conversation <= 4; conversation++ {
		app, c := keys.UUID{1}, keys.UUID{conversation}
		revision := revisionOf(s.t, n.Reader(), post(1, conversation, 0))
		if revision < s.acked[conversation] {
			s.t.Errorf("%s conversation %d: at %d, acknowledged %d", n.name, conversation, revision, s.acked[conversation])
		}
		count := uint64(0)
		err := n.Reader().Scan(keys.Event(1, app, c, 0), keys.Event(1, app, c, 1<<40), false, func(key, value []byte) (bool, error) {
			count++
			if got := keys.EventSequence(key); got != count || string(value) != fmt.Sprintf("event %d", count) {
				s.t.Errorf("%s conversation %d: event %d at place %d is %q", n.name, conversation, got, count, value)
			}
			return true, nil
		})
		if err != nil || count != revision {
			s.t.Errorf("%s conversation %d: %d events at revision %d, %v", n.name, conversation, count, revision, err)
		}
	}
}

// TestCrashesOfOneNode shows invariants I1 to I3 where one node can: whatever was acknowledged
// survives a crash at any moment, and nothing is applied twice.
func TestCrashesOfOneNode(t *testing.T) {
	crashes := 300
	if testing.Short() {
		crashes = 30
	}
	s := newStorm(t, 1)
	s.open("n1", vfs.NewCrashableMem(), 1)
	for range crashes {
		for range 20 + s.rng.IntN(60) {
			s.act(s.nodes["n1"])
		}
		s.crashNode(s.nodes["n1"])
		s.nodes["n1"].Settle(context.Background())
		s.check(s.nodes["n1"])
		if t.Failed() {
			t.FailNow()
		}
	}
	if s.sum() < uint64(crashes) {
		t.Fatalf("only %v acknowledged: the test shows nothing", s.acked)
	}
	s.nodes["n1"].stop()
}

var (
	stormSeeds = flag.Uint64("storm.seeds", 30, "how many storms of three nodes to run")
	stormSeed  = flag.Uint64("storm.seed", 0, "the first of their seeds")
)

// TestStormsOfThreeNodes does the same with three replicas whose packets are lost, doubled and
// reordered, which crash one after the other, and which are removed and replaced.
func TestStormsOfThreeNodes(t *testing.T) {
	seeds := *stormSeeds
	if testing.Short() {
		seeds = min(seeds, 3)
	}
	acked := uint64(0)
	for seed := *stormSeed; seed < *stormSeed+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { acked += newStorm(t, seed).threeNodes() })
	}
	if acked < 10*seeds {
		t.Errorf("only %d acknowledged in %d storms: the test shows nothing", acked, seeds)
	}
}

// threeNodes gives how many writes were acknowledged.
func (s *storm) threeNodes() (acked uint64) {
	s.open("n1", vfs.NewCrashableMem(), 1)
	s.settle()
	for i, name := range []string{"n2", "n3"} {
		s.open(name, vfs.NewCrashableMem(), 0)
		if err := s.nodes[name].AddReplica(1, ReplicaID(12+i)); err != nil {
			s.t.Fatal(err)
		}
		s.change(Change{Kind: AddLearner, Replica: ReplicaID(12 + i), Node: name})
	}
	s.change(Change{Kind: AddVoter, Replica: 12}, Change{Kind: AddVoter, Replica: 13})
	for range 8000 {
		n := s.nodes[s.names()[s.rng.IntN(3)]]
		switch roll := s.rng.IntN(100); {
		case roll == 0 && s.rng.IntN(4) == 0:
			s.crashNode(n)
		case roll < 6:
			n.Tick()
		case roll == 6 && s.rng.IntN(3) == 0:
			s.reshape(n)
		case roll < 45:
			s.packet()
		default:
			s.act(n)
		}
	}
	// Calm: everything arrives, time passes, and all that belong agree.
	s.settle()
	s.tick("", 120)
	for _, name := range s.names() {
		s.propose(s.nodes[name])
	}
	before := s.sum()
	s.settle()
	if s.sum() == before {
		s.t.Error("nothing can be written after the storm")
	}
	want := uint64(0)
	for _, name := range s.members() {
		s.check(s.nodes[name])
		status, err := s.nodes[name].Status(1)
		if err != nil || want != 0 && status.Applied != want {
			s.t.Errorf("%s applied %d, others %d, %v", name, status.Applied, want, err)
		}
		want = status.Applied
	}
	for _, name := range s.names() {
		s.nodes[name].stop()
	}
	return s.sum()
}

func (s *storm) sum() uint64 { return s.acked[1] + s.acked[2] + s.acked[3] + s.acked[4] }

// reshape takes one step of the placement that a cluster does: who has left is dropped and made
// anew under another id, who is new becomes a learner, who has caught up a voter, and out of
// three voters one is taken.
func (s *storm) reshape(leader *scriptedNode) {
	status, err := leader.Status(1)
	if err != nil || !leader.Lead(1).Ready || status.Joint {
		return
	}
	ask := func(kind ChangeKind, id ReplicaID, node string) {
		leader.ChangeConf(1, 0, []Change{{Kind: kind, Replica: id, Node: node}}, func(error) {})
	}
	voters := 0
	for _, name := range s.names() {
		n := s.nodes[name]
		at := slices.IndexFunc(status.Replicas, func(r ReplicaStatus) bool { return r.Node == name })
		here, err := n.Status(1)
		switch {
		case at < 0 && errors.Is(err, ErrNoReplica):
			s.id++
			_ = n.AddReplica(1, s.id) // refused while the last one is being dropped
		case at < 0 && s.gone[name] == here.Replica:
			n.RemoveReplica(1, here.Replica, func(error) {})
		case at < 0 && !s.taken[here.Replica]:
			ask(AddLearner, here.Replica, name)
		case at < 0: // it has not heard of its removal yet
		case !status.Replicas[at].Voter:
			ask(AddVoter, status.Replicas[at].Replica, "")
		default:
			voters++
		}
	}
	if voters == 3 {
		id := status.Replicas[s.rng.IntN(3)].Replica
		s.taken[id] = true
		ask(Remove, id, "")
	}
}

// members are the nodes with a replica of the shard, as its leader knows.
func (s *storm) members() (names []string) {
	s.t.Helper()
	for _, name := range s.names() {
		if s.nodes[name].Lead(1).Ready {
			status, err := s.nodes[name].Status(1)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, r := range status.Replicas {
				names = append(names, r.Node)
			}
			return names
		}
	}
	s.t.Error("nobody leads after the storm")
	return nil
}

func (s *storm) change(changes ...Change) {
	s.t.Helper()
	err := errors.New("no answer")
	s.nodes["n1"].ChangeConf(1, 0, changes, func(e error) { err = e })
	s.settle()
	if err != nil {
		s.t.Fatal(err)
	}
}

// packet lets something happen to a random packet.
func (s *storm) packet() {
	n := len(s.network.Pending())
	if n == 0 {
		return
	}
	i := s.rng.IntN(min(n, 8))
	switch s.rng.IntN(20) {
	case 0:
		s.network.Drop(i)
	case 1:
		s.network.Duplicate(i)
	default:
		s.network.Deliver(i)
	}
}
