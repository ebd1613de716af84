package sim

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/grain"
	"parley/actors/query"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// The world's fixed size: small enough that everything meets everything.
const (
	nodeName      = "n1"
	application   = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
	shards        = 4
	conversations = 3
	clients       = 6 // each a user, in every conversation
)

// World is one seeded run: a node that lives and crashes, clients that send and retry, an edge
// that listens, and the history that they record.
type World struct {
	rng     *rand.Rand
	disk    *vfs.MemFS
	node    *node
	edge    *edge
	clients []*client
	rooms   []string

	connections []*connection        // two devices of each of the first users, one of the others
	members     int                  // ids given
	memberOf    map[[2]string]string // conversation and user -> member, as last heard
	userOf      map[string]string    // of a member

	now     int64 // Unix milliseconds; moves only when the scheduler says so
	tick    int64 // the history's clock
	crashes int
	clean   bool // power cuts leave all that was written to the log
	trace   uint64
	history history.History

	// What connections saw.
	broken                        []history.Violation
	showings                      []*showing     // of this life
	ended                         []*showing     // of the life before, not checked yet
	deleted                       map[slot]int64 // tick of the acknowledgement
	claims                        claims
	cursors                       map[[2]string]uint64 // conversation and member -> seen, as acknowledged
	shown, typings, slowed, deeds int
}

// NewWorld starts a node on an empty disk, and makes users, conversations and members.
func NewWorld(seed uint64) (*World, error) {
	w := &World{rng: rand.New(rand.NewPCG(seed, 1)), disk: vfs.NewCrashableMem(), now: 1_700_000_000_000, trace: seed}
	w.edge = newEdge()
	w.memberOf, w.userOf = map[[2]string]string{}, map[string]string{}
	w.deleted, w.claims, w.cursors = map[slot]int64{}, claims{}, map[[2]string]uint64{}
	if err := w.start(); err != nil {
		return nil, err
	}
	for i := range conversations {
		w.rooms = append(w.rooms, fixedID("CON-", i))
	}
	for i := range clients {
		w.clients = append(w.clients, &client{world: w, user: fixedID("USR-", i), name: fmt.Sprintf("user%d", i)})
	}
	for i := range clients + 2 {
		c := &connection{world: w, user: w.clients[i%clients], last: map[string]uint64{}, feeds: map[string]*feed{}}
		w.connections = append(w.connections, c)
	}
	return w, w.populate()
}

func (w *World) start() (err error) {
	w.node, err = openNode(w.disk, func() int64 { return w.now }, uint64(w.crashes+1), w.edge)
	return err
}

// populate runs the set-up to its end, without faults.
func (w *World) populate() error {
	admin := &nodev1.Principal{ApplicationId: application, Admin: true}
	if err := w.settle(); err != nil {
		return err
	}
	for i, c := range w.clients {
		user := &eventv1.User{Id: c.user, Name: c.name}
		if err := w.must(nodev1.Kind_KIND_USER, c.user, &nodev1.Command{Principal: admin,
			Body: &nodev1.Command_CreateUser{CreateUser: &nodev1.CreateUser{User: user}}}); err != nil {
			return fmt.Errorf("user %d: %w", i, err)
		}
	}
	for i, room := range w.rooms {
		c := &eventv1.Conversation{Id: room, Name: fmt.Sprintf("room%d", i)}
		if err := w.must(nodev1.Kind_KIND_CONVERSATION, room, &nodev1.Command{Principal: admin,
			Body: &nodev1.Command_CreateConversation{CreateConversation: &nodev1.CreateConversation{Conversation: c}}}); err != nil {
			return fmt.Errorf("conversation %d: %w", i, err)
		}
		for j, member := range w.clients {
			add := w.add(member, nodev1.MemberAction_MEMBER_ACTION_JOIN)
			add.Principal = admin
			if err := w.must(nodev1.Kind_KIND_CONVERSATION, room, add); err != nil {
				return fmt.Errorf("member %d of conversation %d: %w", j, i, err)
			}
			w.memberOf[[2]string{room, member.user}] = fixedID("MEM-", w.members)
		}
	}
	return nil
}

// must runs one command to its end.
func (w *World) must(kind nodev1.Kind, id string, c *nodev1.Command) error {
	var answer *nodev1.GrainReply
	w.node.ask(kind, id, c, func(r *nodev1.GrainReply) { answer = r })
	if err := w.settle(); err != nil {
		return err
	}
	if answer == nil {
		return fmt.Errorf("no answer from %s", id)
	}
	return grain.CodedError(answer.Error)
}

// settle runs everything that can run without a fault, a client or the clock. A node that is
// busy for ever is a failure of its own.
func (w *World) settle() error {
	for range 100_000 {
		n := w.node
		if !(w.readAll() || n.stepper.Step() || n.stepper.WriteLog() || n.stepper.SyncLog() || n.stepper.Apply(context.Background()) ||
			n.wakeOne(first) || n.runQueues() || n.live.calm()) {
			return nil
		}
	}
	return fmt.Errorf("the node does not come to rest")
}

// readAll has every device read all that came.
func (w *World) readAll() (any bool) {
	for _, c := range w.connections {
		any = any || len(c.inbox) > 0
		c.read(-1)
	}
	return any
}

// Turn lets the scheduler choose one thing that happens next.
func (w *World) Turn() error {
	n := w.node
	choice := w.rng.IntN(100)
	w.note(uint64(choice))
	switch {
	case choice < 17:
		w.clients[w.rng.IntN(clients)].act()
	case choice < 31:
		n.stepper.Step()
	case choice < 40:
		n.stepper.WriteLog()
	case choice < 49:
		n.stepper.SyncLog()
	case choice < 57:
		n.stepper.Apply(context.Background())
	case choice < 65:
		n.wakeOne(w.rng.IntN)
	case choice < 68:
		n.runQueues()
	case choice < 82:
		n.live.turn(w.rng)
	case choice < 95:
		w.connections[w.rng.IntN(len(w.connections))].turn()
	case choice < 98:
		w.now += w.rng.Int64N(200)
		n.live.tick()
	case choice < 99 && w.rng.IntN(3) > 0:
		w.edge.watch(w)
	case choice < 99:
		n.loseTrack(w.rooms[w.rng.IntN(len(w.rooms))])
	default:
		if w.rng.IntN(20) == 0 {
			return n.stepper.Flush(context.Background())
		}
	}
	return nil
}

// Crash cuts the power: what was not synced is lost, wholly or in part, and everybody who waited
// for an answer will never get it. Then the node starts again on what is left.
func (w *World) Crash() error {
	// A generator of its own, because what is asked of it hangs on how far the disk's own work was.
	luck := rand.New(rand.NewPCG(w.rng.Uint64(), 2))
	percent := []int{0, 30, 70, 100}[w.rng.IntN(4)]
	if w.clean {
		if err := w.syncAll(); err != nil {
			return err
		}
		percent = 0
	}
	left := w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: luck})
	for _, c := range w.clients {
		c.abandon()
	}
	for _, c := range w.connections {
		c.lost()
	}
	w.ended, w.showings = append(w.ended, w.showings...), nil
	w.edge.forget()
	old := w.node
	w.disk = left
	w.crashes++
	if err := old.close(); err != nil {
		return fmt.Errorf("close what crashed: %w", err)
	}
	return w.start()
}

// syncAll makes durable whatever was written to the log. Without it the file system's own
// goroutines decide how much of the newest writes a power cut leaves, and no two runs are alike.
func (w *World) syncAll() error {
	for w.node.stepper.SyncLog() {
	}
	if err := w.node.store.Log().LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return nil
}

// Check brings everything to rest, reads every conversation to its end, and gives what is broken.
func (w *World) Check() ([]history.Violation, error) {
	if err := w.rest(); err != nil {
		return nil, err
	}
	h := history.History{Sends: w.history.Sends}
	for _, room := range w.rooms {
		log, err := w.read(room)
		if err != nil {
			return nil, err
		}
		w.checkReceipts(room, log)
		w.checkConnections(room, log)
		for _, s := range slices.Concat(w.ended, w.showings) {
			if s.room == room {
				w.checkShowing(s, log)
			}
		}
		h.Reads = append(h.Reads, w.observedBy("log", room, log))
	}
	w.ended = nil
	violations := append(w.broken, history.Check(h)...)
	return append(violations, w.edge.check(h.Reads)...), nil
}

// rest lets everything come to its end: every device subscribes to everything and reads all that
// comes, until time brings nothing new either.
func (w *World) rest() error {
	for range 3 {
		for _, c := range w.connections {
			if c.slow {
				c.hangUp()
			}
			for _, room := range w.rooms {
				c.subscribe(room)
			}
		}
		for range 2 {
			if err := w.settle(); err != nil {
				return err
			}
			w.now += 5_000 // more than the time after which interest is confirmed again
			w.node.live.tick()
		}
	}
	return nil
}

// observedBy is a log as an observer saw it. What was deleted counts as what its sender sent.
func (w *World) observedBy(observer, room string, log []*nodev1.EventView) history.Read {
	read := history.Read{Conversation: room, Observer: observer}
	for _, v := range log {
		e := observed(v.Event)
		if v.Event.DeletedMs != 0 {
			e.Body = bodyOf(room, e.User, e.ClientID)
		}
		read.Events = append(read.Events, e)
	}
	return read
}

func (w *World) read(room string) ([]*nodev1.EventView, error) {
	req := &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: application, Id: room,
		Query: &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: application, Admin: true},
			Body: &nodev1.Query_ListEvents{ListEvents: &nodev1.ListEvents{Page: &nodev1.Page{}}}}}
	reply := query.Serve(w.node.store.Reader(), shards, req)
	if reply.Error != nil {
		return nil, fmt.Errorf("read %s: %w", room, grain.CodedError(reply.Error))
	}
	return reply.Reply.Events, nil
}

func observed(e *eventv1.Event) history.Event {
	if e.ClientId == "" {
		return history.Event{Sequence: e.Sequence}
	}
	return history.Event{Sequence: e.Sequence, User: e.FromUser, ClientID: e.ClientId, Body: string(e.Body)}
}

// Close ends the world.
func (w *World) Close() error { return w.node.close() }

// Trace is a hash of every choice and every answer: the same seed gives the same trace, as long as
// power cuts are clean. How much a torn one leaves of what was not synced hangs on how far the
// store's own goroutines had written it, which no seed decides.
func (w *World) Trace() uint64 { return w.trace }

func (w *World) note(v uint64) {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %d", w.trace, v)
	w.trace = h.Sum64()
}

// place is where a conversation lives.
func place(id string) keys.Shard {
	return grain.Place(nodev1.Kind_KIND_CONVERSATION, application, id, shards)
}

func fixedID(prefix string, n int) string {
	return fmt.Sprintf("%s%08d-0000-4000-8000-000000000000", prefix, n)
}

// first draws without chance: at rest the scheduler leaves no trace.
func first(int) int { return 0 }

// pick draws a key in an order that does not depend on the map.
func pick[V any](draw func(int) int, m map[entityKey]V) entityKey {
	ordered := slices.SortedFunc(maps.Keys(m), func(a, b entityKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	})
	return ordered[draw(len(ordered))]
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
