package cluster

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// The world's size: small enough that everything meets everything.
const (
	shards   = 3 // besides the meta shard
	rooms    = 3 // in the first application; the second has one, of the same id as the first's first
	users    = 4 // of the first application; the second has one
	nodesMax = 5
	epochMs  = 1_700_000_000_000
)

// applications are two tenants that have nothing to do with each other.
var applications = [2]string{"6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "1c2d3e4f-0000-4000-8000-00cf4fc964aa"}

// room is one conversation of one application.
type room struct{ application, id string }

// String is the room's name in the history, where an application is a part of it.
func (r room) String() string { return r.application[:4] + "/" + r.id[4:12] }

// World is one seeded run.
type World struct {
	clock
	rng *rand.Rand
	net *network

	nodes   map[string]*node      // the last life of each
	down    map[string]*vfs.MemFS // disks of nodes that do not run
	stores  map[string]string     // identity of the disk, by node
	removed map[string]bool
	lives   uint64

	founding bool // nobody enlists yet
	quiet    bool // the faults are over
	ending   bool // clients begin nothing new
	judged   bool // clients do nothing any more

	rooms   []room
	clients []*client
	userOf  map[string]string // of a member id
	ids     int

	replicas *replicas
	orders   []given         // that may come again
	picture  *driver.Picture // as some driver saw it last
	since    time.Duration   // when pictures began to show nothing left to do, 0 = the last did not

	trace   uint64
	stamped int64
	lasts   time.Duration // of the faults
	history history.History
	broken  []history.Violation

	crashes, snapshots, posts, shown, together int
	steps                                      map[string]int // of the driver that were done, by kind
	faults                                     map[string]int
}

// NewWorld founds a cluster on one node, lets two more join, and makes users and conversations.
func NewWorld(seed uint64) (*World, error) {
	w := &World{
		rng: rand.New(rand.NewPCG(seed, 3)), nodes: map[string]*node{}, down: map[string]*vfs.MemFS{}, stores: map[string]string{},
		removed: map[string]bool{}, userOf: map[string]string{}, steps: map[string]int{}, faults: map[string]int{}, trace: seed,
	}
	w.net, w.replicas = newNetwork(w), newReplicas(w)
	w.founding = true
	if err := w.add("n1"); err != nil {
		return nil, err
	}
	if err := w.must(10*time.Second, func(done func(error)) { w.nodes["n1"].found(done) }); err != nil {
		return nil, fmt.Errorf("found the cluster: %w", err)
	}
	w.founding = false
	for _, name := range []string{"n2", "n3"} {
		if err := w.add(name); err != nil {
			return nil, err
		}
	}
	if !w.await(30*time.Second, w.whole) {
		if len(w.broken) > 0 {
			return w, nil // Run says what
		}
		return nil, fmt.Errorf("three nodes do not become a cluster: %+v", w.picture.View)
	}
	return w, w.populate()
}

// add starts a node on an empty disk.
func (w *World) add(name string) error {
	w.stores[name] = storeOf(name, len(w.stores))
	return w.start(name, vfs.NewCrashableMem(), name == "n1")
}

func (w *World) start(name string, disk *vfs.MemFS, found bool) error {
	n, err := openNode(w, name, disk, found)
	if err != nil {
		return err
	}
	w.nodes[name] = n
	delete(w.down, name)
	return nil
}

// names are all nodes that run or ran, in order.
func (w *World) names() []string { return slices.Sorted(maps.Keys(w.nodes)) }

// running are the nodes that are not down.
func (w *World) running() (names []string) {
	for _, name := range w.names() {
		if !w.nodes[name].dead {
			names = append(names, name)
		}
	}
	return names
}

// must lets time pass until begin is done; again when it failed, for it may be too early.
func (w *World) must(within time.Duration, begin func(done func(error))) error {
	over := w.now + within
	for {
		finished, result := false, error(nil)
		begin(func(err error) { finished, result = true, err })
		w.await(within, func() bool { return finished })
		if finished && result == nil || w.now >= over {
			if !finished {
				return errSilent
			}
			return result
		}
	}
}

// await lets time pass until something holds, and says whether that came about.
func (w *World) await(within time.Duration, holds func() bool) bool {
	for over := w.now + within; w.now < over; {
		w.until(w.now + 50*time.Millisecond)
		if holds() {
			return true
		}
	}
	return false
}

// whole says that for a second the pictures have shown nothing left to do, and all nodes that run as
// members.
func (w *World) whole() bool {
	if w.since == 0 || w.now-w.since < time.Second {
		return false
	}
	for _, name := range w.running() {
		if !w.nodes[name].member {
			return false
		}
	}
	return len(w.picture.Members()) >= len(w.running())
}

// saw notes what a driver saw.
func (w *World) saw(n *node, p *driver.Picture) {
	w.picture = p
	for _, name := range w.running() {
		w.replicas.look(w.nodes[name])
	}
	if !settled(p) {
		w.since = 0
	} else if w.since == 0 {
		w.since = w.now
	}
	w.note(n.life, p.Epoch)
	for _, s := range p.Stores {
		gone := w.nodes[s.Node]
		if s.State == eventv1.StoreState_STORE_STATE_REMOVED && gone != nil && w.stores[s.Node] == s.Uuid {
			w.expelled(gone)
		}
	}
}

// stepped notes a step of a driver.
func (w *World) stepped(kind string, err error) {
	if err == nil {
		w.steps[kind]++
	}
}

// expelled ends a node that the cluster refuses, for ever.
func (w *World) expelled(n *node) {
	w.removed[n.name] = true
	w.after(0, func() {
		if !n.dead {
			w.crash(n)
		}
	})
}

// populate makes the applications' users, conversations and members.
func (w *World) populate() error {
	for a, application := range applications {
		count, people := rooms, users
		if a == 1 {
			count, people = 1, 1
		}
		for i := range people {
			c := newClient(w, application, i)
			w.clients = append(w.clients, c)
			user := &eventv1.User{Id: c.user, Name: c.name}
			if err := w.admin(nodev1.Kind_KIND_USER, application, c.user, &nodev1.Command{
				Body: &nodev1.Command_CreateUser{CreateUser: &nodev1.CreateUser{User: user}}}); err != nil {
				return fmt.Errorf("user %d: %w", i, err)
			}
		}
		for i := range count {
			if err := w.open(room{application, fixedID("CON-", i)}); err != nil {
				return fmt.Errorf("conversation %d: %w", i, err)
			}
		}
		if a == 0 {
			if err := w.fill(w.rooms[len(w.rooms)-1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// open makes a conversation with all users of its application.
func (w *World) open(r room) error {
	w.rooms = append(w.rooms, r)
	c := &eventv1.Conversation{Id: r.id, Name: "room " + r.id}
	if err := w.admin(nodev1.Kind_KIND_CONVERSATION, r.application, r.id, &nodev1.Command{
		Body: &nodev1.Command_CreateConversation{CreateConversation: &nodev1.CreateConversation{Conversation: c}}}); err != nil {
		return err
	}
	for _, c := range w.clients {
		if c.application != r.application {
			continue
		}
		c.rooms = append(c.rooms, r)
		move := history.Move{Conversation: r.String(), User: c.user, In: true, Outcome: history.Committed, Began: w.stamp()}
		join := w.join(c)
		if err := w.admin(nodev1.Kind_KIND_CONVERSATION, r.application, r.id, join); err != nil {
			return err
		}
		c.members[r] = join.GetAddMember().NewMemberId
		move.Ended = w.stamp()
		w.history.Moves = append(w.history.Moves, move)
	}
	return nil
}

// join is the command that makes a user a member under a new id.
func (w *World) join(c *client) *nodev1.Command {
	w.ids++
	member := fixedID("MEM-", w.ids)
	w.userOf[member] = c.user
	return &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{NewMemberId: member,
		Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, User: &eventv1.Author{UserId: c.user, Name: c.name}}}}
}

// admin has one command carried out.
func (w *World) admin(kind nodev1.Kind, application, id string, c *nodev1.Command) error {
	c.Principal = &nodev1.Principal{ApplicationId: application, Admin: true}
	return w.must(10*time.Second, func(done func(error)) {
		w.nodes["n1"].call(&nodev1.GrainRequest{Kind: kind, ApplicationId: application, Id: id, Command: c},
			func(_ *nodev1.GrainReply, err error) { done(err) })
	})
}

// stamp is a moment of the history: no two are the same.
func (w *World) stamp() int64 {
	w.stamped = max(w.stamped+1, w.now.Microseconds())
	return w.stamped
}

// little is the time that a goroutine takes to get its turn.
func (w *World) little() time.Duration { return time.Duration(10+w.rng.IntN(190)) * time.Microsecond }

func (w *World) fail(rule, format string, args ...any) {
	w.broken = append(w.broken, history.Violation{Rule: rule, Detail: fmt.Sprintf(format, args...)})
}

// Trace is a hash of every turn, every change of a lead and every answer.
func (w *World) Trace() uint64 { return w.trace }

func (w *World) note(values ...uint64) {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, w.trace, w.now, values)
	w.trace = h.Sum64()
}

// Close ends the world.
func (w *World) Close() error {
	for _, name := range w.running() {
		if _, err := w.nodes[name].end(); err != nil {
			return err
		}
	}
	return nil
}

func fixedID(prefix string, n int) string {
	return fmt.Sprintf("%s%08d-0000-4000-8000-000000000000", prefix, n)
}

// shardOf is where a room lives.
func shardOf(r room) keys.Shard { return keys.ShardOf(r.application, r.id, shards) }
