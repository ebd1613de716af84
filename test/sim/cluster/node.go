package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/fanout"
	"parley/actors/grain"
	"parley/cluster/directory"
	"parley/cluster/shard"
	"parley/edge/hub"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
	"parley/test/sim/frame"
)

// node is one life of one node, from a start to a crash.
type node struct {
	// Fixed at open.
	w         *World
	name      string
	life      uint64 // of all nodes' lives, rising
	disk      *vfs.MemFS
	store     *store.Store
	stepper   *shard.Stepper
	host      frame.Host
	directory *directory.Table
	fanout    *fanout.Fanout
	inbound   *fanout.Inbound
	hub       *hub.Stepper
	driver    *driver.Driver
	metrics   *grain.Metrics

	leads  map[keys.Shard]shard.Lead
	grains map[entity]*activation
	ending map[keys.Shard]int // activations of epochs that are over and have not ended
	queues *frame.Queues
	fed    []feeding

	member  bool
	orders  uint64 // the latest driver that was obeyed
	driving *fiber

	dead      bool
	paused    bool
	panicking time.Duration // until when grains panic
	parked    []func()      // what would have happened during the pause
	skew      time.Duration // of the wall clock
	coming    bool          // a turn is planned

	diskSlow    time.Duration // how long the log takes
	diskStalled bool
	logFree     time.Duration // when the log's disk is free
	syncBegan   time.Duration // of the oldest write that is not synced, 0 none
	stalled     bool

	heard  map[string]time.Duration
	gone   map[string]bool
	rumour map[string]time.Duration // until when gossip takes a node for dead
	full   map[string]bool          // nodes whose disks are, this one's for certain and others' by gossip
	slur   map[string]time.Duration // until when gossip takes a node's disk for full
}

// openNode starts a node on what its disk holds.
func openNode(w *World, name string, disk *vfs.MemFS, found bool) (*node, error) {
	w.lives++
	n := &node{
		w: w, name: name, life: w.lives, disk: disk, leads: map[keys.Shard]shard.Lead{}, grains: map[entity]*activation{},
		ending: map[keys.Shard]int{}, heard: map[string]time.Duration{},
		gone: map[string]bool{}, rumour: map[string]time.Duration{},
		full: map[string]bool{}, slur: map[string]time.Duration{}, diskSlow: 200 * time.Microsecond,
	}
	o := store.DefaultOptions()
	o.FS, o.LogMemTableBytes, o.StateMemTableBytes, o.CacheBytes = disk, 1<<20, 1<<20, 1<<20
	o.Logger = quiet()
	var err error
	if n.store, err = store.Open("node", o); err != nil {
		return nil, fmt.Errorf("open the store of %s: %w", name, err)
	}
	if found {
		if err := shard.Bootstrap(context.Background(), n.store, name, shards); err != nil {
			return nil, err
		}
	}
	return n, n.open()
}

func (n *node) open() (err error) {
	if n.metrics, err = grain.NewMetrics(nil); err != nil {
		return err
	}
	if err := n.openEdge(); err != nil {
		return err
	}
	n.directory = directory.New(n.name, shards)
	n.directory.OnChange(func(l directory.Lead) { n.inbound.LeadChanged(l.Lead) })
	d := driver.DefaultOptions()
	d.Cluster, d.DeadAfter, d.Now = n, deadAfter, n.wall
	if n.driver, err = driver.New(d); err != nil {
		return err
	}
	o := shard.DefaultOptions()
	o.Node, o.ReadsFrom, o.SnapshotBytesPerSecond = n.name, n.life<<32, 0
	o.KeepEntries, o.HeldBytes = 8, 4<<10 // so little that snapshots are needed, and are overtaken
	o.Removed = n.departed
	if n.stepper, err = shard.OpenStepper(n.store, endpoint{n}, n, o); err != nil {
		return err
	}
	n.host = frame.Host{Stepper: n.stepper, Store: n.store}
	n.queues = frame.NewQueues(n.host, queueing{n})
	n.every(100*time.Millisecond, n.tick)
	n.every(100*time.Millisecond, n.beat)
	n.every(50*time.Millisecond, func() { n.hub.Tick(); n.wake() })
	n.every(fanout.BeatEvery, func() { n.fanout.Beat(); n.inbound.Tick() })
	n.every(time.Second, n.announce)
	n.every(100*time.Millisecond, func() { n.queues.Ring(shards) })
	n.every(3*time.Second, n.flush)
	n.every(150*time.Millisecond, n.drive)
	n.every(300*time.Millisecond, n.enlist)
	n.wake()
	return nil
}

// wall is the node's own clock.
func (n *node) wall() time.Time { return time.UnixMilli(epochMs).Add(n.w.now + n.skew) }

func (n *node) milliseconds() int64 { return n.wall().UnixMilli() }

// run lets something happen on the node, or notes it for the end of its pause.
func (n *node) run(do func()) {
	switch {
	case n.dead:
	case n.paused:
		n.parked = append(n.parked, do)
	default:
		do()
		n.wake()
	}
}

// after plans something for this life of the node.
func (n *node) after(d time.Duration, do func()) { n.w.after(d, func() { n.run(do) }) }

// every repeats something, at moments of the node's own. What a pause has missed happens once.
func (n *node) every(d time.Duration, do func()) {
	var again func()
	again = func() {
		do()
		n.after(d, again)
	}
	n.after(time.Duration(n.w.rng.Int64N(int64(d))), again)
}

// wake plans a turn.
func (n *node) wake() {
	if n.coming || n.dead || n.paused || n.stepper == nil {
		return
	}
	n.coming = true
	n.w.after(n.w.little(), func() {
		n.coming = false
		n.turn()
	})
}

// turn is one of the node's parts does what waits for it.
func (n *node) turn() {
	if n.dead || n.paused {
		return
	}
	w := n.w
	ctx := context.Background()
	first := w.rng.IntN(7)
	for i := range 7 {
		done := false
		switch (first + i) % 7 {
		case 0, 1:
			done = n.stepper.Step()
		case 2:
			done = n.writeLog()
		case 3:
			done = n.stepper.Apply(ctx)
		case 4:
			done = n.stepper.SendSnapshot(ctx)
		case 5:
			done = n.hub.Pass()
		case 6:
			done = n.askOne()
		}
		if done {
			w.note(n.life, uint64(first+i)%7)
			n.wake()
			return
		}
	}
}

// writeLog writes what waits for the log, and plans when it is durable.
func (n *node) writeLog() bool {
	w := n.w
	if n.diskStalled || w.now < n.logFree || !n.stepper.WriteLog() {
		return false
	}
	n.logFree = w.now + n.diskSlow/2 + time.Duration(w.rng.Int64N(int64(n.diskSlow)))
	n.syncBegan = w.now
	n.after(n.logFree-w.now, n.synced)
	return true
}

// synced makes a written batch durable, unless the disk has stalled.
func (n *node) synced() {
	if n.diskStalled {
		n.after(50*time.Millisecond, n.synced)
		return
	}
	n.stepper.SyncLog()
	n.syncBegan = 0
}

// tick moves Raft's time, and watches the disk.
func (n *node) tick() {
	if slow := n.syncBegan != 0 && n.w.now-n.syncBegan > time.Second; slow != n.stalled {
		n.stalled = slow
		n.stepper.Stall(slow)
	}
	if n.stepper.Ticking() {
		n.stepper.Tick()
	}
}

// flush makes the state durable, so that logs are cut.
func (n *node) flush() {
	if n.diskStalled {
		return
	}
	if err := n.stepper.Flush(context.Background()); err != nil {
		n.w.fail("flush", "%s: %v", n.name, err)
	}
}

// LeadChanged implements shard.Observer.
func (n *node) LeadChanged(l shard.Lead) {
	n.w.note(n.life, uint64(l.Shard), uint64(l.Epoch))
	n.leads[l.Shard] = l
	n.fanout.LeadChanged(l)
	n.queues.Follow(l)
	n.directory.Set(l)
	n.endGrains(l)
	n.after(5*time.Millisecond, n.announce)
}

// announce tells the others what this node leads.
func (n *node) announce() {
	a := &nodev1.Announce{Node: n.name}
	for s := keys.Meta; s <= shards; s++ {
		if l := n.directory.Get(s); l.Serves() {
			a.Leads = append(a.Leads, &nodev1.ShardLead{Shard: uint32(s), Epoch: uint64(l.Epoch)})
		}
	}
	for _, name := range n.w.names() {
		if name != n.name {
			n.w.net.message(n, name, func(at *node) {
				for _, l := range a.Leads {
					at.directory.Announce(keys.Shard(l.Shard), a.Node, shard.Epoch(l.Epoch))
				}
			})
		}
	}
}

// end ends a life. What the disk has not synced is lost to the next one.
func (n *node) end() (left *vfs.MemFS, err error) {
	n.dead = true
	if n.driving != nil {
		n.driving.stop()
	}
	for n.stepper.SyncLog() { // what is on its way to the disk arrives: no seed decides how far Pebble has come
	}
	left = n.disk.CrashClone(vfs.CrashCloneCfg{})
	if err := n.stepper.Close(); err != nil {
		return nil, err
	}
	return left, n.store.Close()
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 100}))
}
