package sim

import (
	"fmt"

	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// edge listens to conversations as another node's edge does, over a path that loses nothing: it registers its interest, is told the
// head, and must be given every event above it, in order, once. What it was given must be in the
// log for ever, also after a crash: fan-out comes after durability.
type edge struct {
	version uint64
	last    map[string]uint64 // per watched conversation
	seen    map[string]map[uint64]history.Event
	broken  []history.Violation
}

func newEdge() *edge {
	return &edge{last: map[string]uint64{}, seen: map[string]map[uint64]history.Event{}}
}

// watch registers the interest in one conversation that is not watched yet.
func (e *edge) watch(w *World) {
	room := w.rooms[w.rng.IntN(len(w.rooms))]
	if _, watched := e.last[room]; watched {
		return
	}
	e.version++
	life := w.crashes
	interest := &nodev1.Interest{Edge: "n2", EdgeIncarnation: uint64(w.crashes + 1), Version: e.version, ApplicationId: application, Id: room}
	e.seen[room] = nonNil(e.seen[room])
	w.node.fanout.Interest(interest, func(r *nodev1.InterestReply) {
		if r.NotLeader || life != w.crashes {
			return
		}
		e.last[room] = r.Head
	})
}

func nonNil(m map[uint64]history.Event) map[uint64]history.Event {
	if m == nil {
		return map[uint64]history.Event{}
	}
	return m
}

// Deliver implements fanout.Edge.
func (e *edge) Deliver(b *nodev1.FanoutBatch) {
	for _, item := range b.Items {
		if v := item.GetEvent(); v != nil {
			e.take(item.Id, observed(v.Event))
		}
	}
}

func (e *edge) take(room string, got history.Event) {
	if earlier, known := e.seen[room][got.Sequence]; known && earlier != got {
		e.fail("S4", "%s/%d was delivered as %v and as %v", room, got.Sequence, earlier, got)
	}
	e.seen[room][got.Sequence] = got
	last, registered := e.last[room]
	switch {
	case !registered || got.Sequence <= last: // on its way before the reply: the edge ignores it
	case got.Sequence == last+1:
		e.last[room] = got.Sequence
	default:
		e.fail("S5", "%s: %d was delivered after %d", room, got.Sequence, last)
	}
}

func (e *edge) fail(rule, format string, args ...any) {
	e.broken = append(e.broken, history.Violation{Rule: rule, Detail: fmt.Sprintf(format, args...)})
}

// forget is what a crash of the node means: the edge is a part of it. What clients were shown
// stays shown.
func (e *edge) forget() { clear(e.last) }

// check holds what was delivered against complete reads of a node at rest: all of it is in the
// log, and every watched conversation has been followed to its head.
func (e *edge) check(reads []history.Read) []history.Violation {
	for _, r := range reads {
		for sequence, got := range e.seen[r.Conversation] {
			if sequence > uint64(len(r.Events)) || r.Events[sequence-1] != got {
				e.fail("S1", "%s/%d was delivered as %v and is not in the log", r.Conversation, sequence, got)
			}
		}
		if last, watched := e.last[r.Conversation]; watched && last != uint64(len(r.Events)) {
			e.fail("S15", "%s: the edge is at %d, the head is %d", r.Conversation, last, len(r.Events))
		}
	}
	return e.broken
}
