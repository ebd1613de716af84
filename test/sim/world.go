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

	now     int64 // Unix milliseconds; moves only when the scheduler says so
	tick    int64 // the history's clock
	crashes int
	trace   uint64
	history history.History
}

// NewWorld starts a node on an empty disk, and makes users, conversations and members.
func NewWorld(seed uint64) (*World, error) {
	w := &World{rng: rand.New(rand.NewPCG(seed, 1)), disk: vfs.NewCrashableMem(), now: 1_700_000_000_000, trace: seed}
	w.edge = newEdge()
	if err := w.start(); err != nil {
		return nil, err
	}
	for i := range conversations {
		w.rooms = append(w.rooms, fixedID("CON-", i))
	}
	for i := range clients {
		w.clients = append(w.clients, &client{world: w, user: fixedID("USR-", i), name: fmt.Sprintf("user%d", i)})
	}
	return w, w.populate()
}

func (w *World) start() (err error) {
	w.node, err = openNode(w.disk, func() int64 { return w.now }, w.edge)
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
			add := &nodev1.AddMember{NewMemberId: fixedID("MEM-", i*clients+j), Action: nodev1.MemberAction_MEMBER_ACTION_JOIN,
				User: &eventv1.Author{UserId: member.user, Name: member.name}}
			if err := w.must(nodev1.Kind_KIND_CONVERSATION, room, &nodev1.Command{Principal: admin,
				Body: &nodev1.Command_AddMember{AddMember: add}}); err != nil {
				return fmt.Errorf("member %d of conversation %d: %w", j, i, err)
			}
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
		if !(n.stepper.Step() || n.stepper.WriteLog() || n.stepper.SyncLog() || n.stepper.Apply(context.Background()) ||
			n.wakeOne(w.rng) || n.runQueues()) {
			return nil
		}
	}
	return fmt.Errorf("the node does not come to rest")
}

// Turn lets the scheduler choose one thing that happens next.
func (w *World) Turn() error {
	n := w.node
	choice := w.rng.IntN(100)
	w.note(uint64(choice))
	switch {
	case choice < 25:
		w.clients[w.rng.IntN(clients)].act()
	case choice < 45:
		n.stepper.Step()
	case choice < 58:
		n.stepper.WriteLog()
	case choice < 71:
		n.stepper.SyncLog()
	case choice < 82:
		n.stepper.Apply(context.Background())
	case choice < 92:
		n.wakeOne(w.rng)
	case choice < 96:
		n.runQueues()
	case choice < 98:
		w.now += w.rng.Int64N(200)
	case choice < 99:
		w.edge.watch(w)
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
	left := w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 70, 100}[w.rng.IntN(4)], RNG: w.rng})
	for _, c := range w.clients {
		c.abandon()
	}
	w.edge.forget()
	old := w.node
	w.disk = left
	w.crashes++
	if err := old.close(); err != nil {
		return fmt.Errorf("close what crashed: %w", err)
	}
	return w.start()
}

// Check brings the node to rest, reads every conversation to its end, and gives what is broken.
func (w *World) Check() ([]history.Violation, error) {
	if err := w.settle(); err != nil {
		return nil, err
	}
	h := history.History{Sends: w.history.Sends}
	for _, room := range w.rooms {
		read, err := w.read(room)
		if err != nil {
			return nil, err
		}
		h.Reads = append(h.Reads, read)
	}
	violations := history.Check(h)
	return append(violations, w.edge.check(h.Reads)...), nil
}

func (w *World) read(room string) (history.Read, error) {
	read := history.Read{Conversation: room, Observer: "log"}
	req := &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: application, Id: room,
		Query: &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: application, Admin: true},
			Body: &nodev1.Query_ListEvents{ListEvents: &nodev1.ListEvents{Page: &nodev1.Page{}}}}}
	reply := query.Serve(w.node.store.Reader(), shards, req)
	if reply.Error != nil {
		return read, fmt.Errorf("read %s: %w", room, grain.CodedError(reply.Error))
	}
	for _, v := range reply.Reply.Events {
		read.Events = append(read.Events, observed(v.Event))
	}
	return read, nil
}

func observed(e *eventv1.Event) history.Event {
	if e.ClientId == "" {
		return history.Event{Sequence: e.Sequence}
	}
	return history.Event{Sequence: e.Sequence, User: e.FromUser, ClientID: e.ClientId, Body: string(e.Body)}
}

// Close ends the world.
func (w *World) Close() error { return w.node.close() }

// Trace is a hash of every choice and every answer: the same seed gives the same trace.
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

// pick draws a key in an order that does not depend on the map.
func pick[V any](rng *rand.Rand, m map[entityKey]V) entityKey {
	ordered := slices.SortedFunc(maps.Keys(m), func(a, b entityKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	})
	return ordered[rng.IntN(len(ordered))]
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
