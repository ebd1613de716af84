package shard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// scripted is a cluster of Steppers that the scripts in testdata drive. Nothing moves but what
// a line of the script moves.
type scripted struct {
	t       *testing.T
	network *transport.Memory
	nodes   map[string]*scriptedNode
	disks   map[string]*vfs.MemFS // what crashes left
	paused  map[string]bool       // nodes that settle leaves alone
	gone    map[string]ReplicaID  // replicas of shard 1 whose removal is confirmed, by node
	out     strings.Builder
}

type scriptedNode struct {
	*Stepper
	name    string
	fs      *vfs.MemFS
	store   *store.Store
	cluster *scripted
}

// LeadChanged implements Observer.
func (n *scriptedNode) LeadChanged(l Lead) {
	role := "follows " + l.Node
	switch {
	case l.Local && l.Ready:
		role = "leads, ready"
	case l.Local:
		role = "leads"
	case l.Node == "":
		role = "knows no leader"
	}
	fmt.Fprintf(&n.cluster.out, "%s: shard %d epoch %d %s\n", n.name, l.Shard, l.Epoch, role)
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		cryptotest.SetGlobalRandom(t, 1)
		c := &scripted{t: t, network: transport.NewMemory(), nodes: map[string]*scriptedNode{}, disks: map[string]*vfs.MemFS{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			c.out.Reset()
			c.run(d)
			if c.out.Len() == 0 {
				return "ok"
			}
			return c.out.String()
		})
		for _, name := range c.names() {
			c.nodes[name].stop()
		}
	})
}

func (c *scripted) names() []string {
	var names []string
	for name := range c.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *scripted) options(name string) Options {
	o := testOptions(name)
	o.KeepEntries, o.HeldBytes = 4, 1 // so that snapshots are needed
	o.Removed = func(r Removal) {
		how := "has left"
		if r.Confirmed {
			how = "is gone"
			if c.gone != nil && r.Shard == 1 {
				c.gone[name] = r.Replica
			}
		}
		fmt.Fprintf(&c.out, "%s: replica %d of shard %d %s\n", name, r.Replica, r.Shard, how)
	}
	return o
}

func (c *scripted) open(name string, fs *vfs.MemFS, shards int) {
	n := &scriptedNode{name: name, fs: fs, cluster: c, store: testStore(c.t, fs)}
	if shards > 0 {
		if err := Bootstrap(c.t.Context(), n.store, name, uint32(shards)); err != nil {
			c.t.Fatal(err)
		}
	}
	s, err := OpenStepper(n.store, c.network.Endpoint(name), n, c.options(name))
	if err != nil {
		c.t.Fatal(err)
	}
	n.Stepper = s
	c.nodes[name] = n
}

func (n *scriptedNode) stop() {
	if err := n.Stepper.Close(); err != nil {
		n.cluster.t.Error(err)
	}
	if err := n.store.Close(); err != nil {
		n.cluster.t.Error(err)
	}
}

// settle lets everything happen that needs no time.
func (c *scripted) settle() {
	for moved, rounds := true, 0; moved; rounds++ {
		if rounds > 2000 {
			for _, name := range c.names() {
				status, err := c.nodes[name].Status(1)
				c.t.Logf("%s: %+v %v", name, status, err)
			}
			c.t.Fatal("the cluster does not come to rest")
		}
		for _, name := range c.names() {
			if !c.paused[name] {
				c.nodes[name].Settle(context.Background())
			}
		}
		if rounds > 1995 { // it will not come to rest; say why
			for _, p := range c.network.Pending() {
				_ = readBatch(p.Batch, func(it item) { c.t.Logf("%s to %s: %v %v", p.From, p.To, it.message, it.note) })
			}
		}
		moved = c.network.DeliverAll() > 0
		for _, name := range c.names() {
			moved = moved || !c.paused[name] && !c.nodes[name].Idle()
		}
	}
}

// run carries out one line. Arguments: node=, shard= (1), id=, to=, count= (1), base=, and so on.
func (c *scripted) run(d *datadriven.TestData) {
	arg := func(key, without string) string {
		value := without
		d.MaybeScanArgs(c.t, key, &value)
		return value
	}
	number := func(key string, without int) int {
		value := without
		d.MaybeScanArgs(c.t, key, &value)
		return value
	}
	s, n := keys.Shard(number("shard", 1)), c.nodes[arg("node", "n1")]
	switch d.Cmd {
	case "bootstrap":
		c.open(arg("node", "n1"), vfs.NewCrashableMem(), number("shards", 1))
	case "join":
		c.open(arg("node", ""), vfs.NewCrashableMem(), 0)
	case "add-replica":
		c.note("", n.AddReplica(s, ReplicaID(number("id", 0))))
	case "remove-replica":
		n.RemoveReplica(s, ReplicaID(number("id", 0)), func(err error) { c.note("remove: ", err) })
	case "dropped":
		c.dropped(n)
		return
	case "change":
		n.ChangeConf(s, uint64(number("since", 0)), parseChanges(c.t, d), func(err error) { c.note("change: ", err) })
	case "post":
		c.post(n, s, byte(number("conversation", 7)), number("base", -1), number("count", 1))
	case "read":
		n.ReadIndex(s, func(epoch Epoch, err error) { c.note(fmt.Sprintf("read in epoch %d: ", epoch), err) })
	case "transfer":
		n.Transfer(s, ReplicaID(number("to", 0)))
	case "tick":
		if d.HasArg("hold") {
			for range number("count", 1) {
				n.Tick()
				n.Step()
			}
			return
		}
		c.tick(arg("node", ""), number("count", 1))
		return
	case "disk": // all that one node's log needs, and what follows from it
		n.Step()
		n.WriteLog()
		n.SyncLog()
		n.Step()
		return
	case "step":
		n.Step()
		return
	case "write-log":
		n.WriteLog()
		return
	case "sync-log":
		n.SyncLog()
		return
	case "send-snapshot":
		n.SendSnapshot(context.Background())
		return
	case "snapshots":
		c.snapshots()
		return
	case "apply":
		n.Apply(context.Background())
		return
	case "stall":
		n.Stall(true)
	case "space": // says to all, or to one, whether a node's disk is full
		for _, to := range c.names() {
			if told := arg("told", to); told == to {
				c.nodes[to].Space(n.name, d.HasArg("full"))
			}
		}
	case "flush":
		c.note("", n.Flush(context.Background()))
	case "isolate":
		c.network.Isolate(n.name)
	case "packets":
		c.packets()
		return
	case "deliver", "duplicate", "lose":
		c.packet(d.Cmd, arg("from", ""), arg("to", ""), arg("kind", ""), d.HasArg("first"))
		return
	case "stand":
		n.core.groups[s].campaign()
		n.core.wake(n.core.groups[s])
		n.Step()
		return
	case "pause":
		c.paused = map[string]bool{n.name: true}
		return
	case "settle":
	case "cut":
		c.network.Cut(n.name, arg("to", ""))
	case "heal":
		c.network.Heal()
	case "down":
		n.PeerDown(arg("peer", ""))
	case "up":
		n.PeerUp(arg("peer", ""))
	case "crash":
		c.crash(n)
	case "restart":
		name := arg("node", "n1")
		c.open(name, c.disks[name], 0)
	case "state":
		c.state(s)
		return
	case "status":
		c.status(n, s)
		return
	default:
		d.Fatalf(c.t, "unknown command %s", d.Cmd)
	}
	if !d.HasArg("hold") {
		c.settle()
	}
}

func (c *scripted) note(what string, err error) {
	switch {
	case err != nil:
		fmt.Fprintf(&c.out, "%s%v\n", what, err)
	case what != "":
		fmt.Fprintf(&c.out, "%sok\n", what)
	}
}

// post writes the next events of a conversation, or one on a given base.
func (c *scripted) post(n *scriptedNode, s keys.Shard, conversation byte, base, count int) {
	epoch, next := n.Lead(s).Epoch, revisionOf(c.t, n.Reader(), post(s, conversation, 0))
	if base >= 0 {
		next = uint64(base)
	}
	for i := range uint64(count) {
		w := post(s, conversation, next+i)
		n.Propose(Proposal{Shard: s, Epoch: epoch, Write: w, Done: func(err error) {
			if count == 1 || err != nil {
				c.note(fmt.Sprintf("post %d: ", w.Base+1), err)
			}
		}})
	}
}

// tick moves time on one node or on all, and lets everything happen after each tick. Like a Host's,
// a node's clock stands while all its groups sleep.
func (c *scripted) tick(node string, count int) {
	for range count {
		for _, name := range c.names() {
			if (node == "" || node == name) && c.nodes[name].core.ticking {
				c.nodes[name].Tick()
			}
		}
		c.settle()
	}
}

// crash loses what a node had not synced, and stops it.
func (c *scripted) crash(n *scriptedNode) {
	left := n.fs.CrashClone(vfs.CrashCloneCfg{})
	n.stop()
	c.out.Reset() // the dead say nothing
	delete(c.nodes, n.name)
	c.disks[n.name] = left
}

// parseChanges reads learner=id@node, voter=id and remove=id, as often as given.
func parseChanges(t *testing.T, d *datadriven.TestData) []Change {
	var changes []Change
	for _, arg := range d.CmdArgs {
		kind, ok := map[string]ChangeKind{"learner": AddLearner, "voter": AddVoter, "remove": Remove}[arg.Key]
		if !ok {
			continue
		}
		for _, value := range arg.Vals {
			ch := Change{Kind: kind}
			id, node, _ := strings.Cut(value, "@")
			if _, err := fmt.Sscan(id, &ch.Replica); err != nil {
				t.Fatal(err)
			}
			ch.Node = node
			changes = append(changes, ch)
		}
	}
	return changes
}
