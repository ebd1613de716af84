package conversation

import (
	"bytes"
	"cmp"
	"fmt"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// history collects what imported events change besides the log: receipts, cursors, and when members
// joined and left. Each is stored once, as the whole command leaves it, in the order of first mention.
type history struct {
	*draft
	marks    map[receiptOf]*eventv1.Receipt
	marked   []receiptOf
	cursors  map[string]*eventv1.Cursor
	moved    []string
	members  map[string]*eventv1.Member
	changed  []string
	receipts int
}

// importEvents appends events as they happened. Those that are there already must be the same.
func (d *draft) importEvents(events []*nodev1.ImportedEvent) (*nodev1.Reply, error) {
	if err := d.mustImport(); err != nil {
		return nil, err
	}
	if len(events) > ImportEventsMax {
		return nil, code.Invalid("events", "must contain less than or equal to 100 items")
	}
	h := &history{
		draft: d, marks: map[receiptOf]*eventv1.Receipt{}, cursors: map[string]*eventv1.Cursor{}, members: map[string]*eventv1.Member{},
	}
	present := d.head.sequence
	for _, wanted := range events {
		e := wanted.GetEvent()
		if err := d.checkHistory(e); err != nil {
			return nil, err
		}
		if e.Sequence <= present {
			if !sameEvent(d.view.events[e.Sequence], e) {
				return nil, code.New(code.IdempotencyConflict, "event %d is there already, and is another", e.Sequence)
			}
			continue
		}
		if err := h.append(wanted); err != nil {
			return nil, err
		}
	}
	h.store()
	return &nodev1.Reply{Conversation: d.view.meta, Head: d.head.message()}, nil
}

// checkHistory checks an event whose type any service may have written: what clients may not send is
// as good as what they may.
func (d *draft) checkHistory(e *eventv1.Event) error {
	at := fmt.Sprintf("events[%d].", e.GetSequence())
	if e.GetType() == "" {
		return code.Invalid(at+"type", "is required")
	}
	if _, err := id.Parse(id.Member, e.FromMember); err != nil && e.FromMember != "" {
		return code.Invalid(at+"from", "must be a member id")
	}
	for _, text := range []struct{ field, value string }{{"type", e.Type}, {"to", e.To}} {
		if err := document.CheckText(text.value, TypeCharactersMax); err != nil {
			return code.Invalid(at+text.field, err.Error())
		}
	}
	if len(e.Body) > 0 {
		if err := document.Check(e.Body, BodyBytesMax); err != nil {
			return code.Invalid(at+"body", err.Error())
		}
	}
	return checkTime(at+"timestamp", max(e.TimestampMs, e.DeletedMs), d.now)
}

// sameEvent says whether a stored event is what is to be imported.
func sameEvent(stored, wanted *eventv1.Event) bool {
	return stored != nil && stored.Type == wanted.Type && stored.FromMember == wanted.FromMember && stored.To == wanted.To &&
		stored.TimestampMs == wanted.TimestampMs && stored.DeletedMs == wanted.DeletedMs && bytes.Equal(stored.Body, wanted.Body)
}

func (h *history) append(wanted *nodev1.ImportedEvent) error {
	e := wanted.Event
	if next := h.head.sequence + 1; e.Sequence != next {
		return code.Invalid(fmt.Sprintf("events[%d].id", e.Sequence), fmt.Sprintf("must be %d, the next", next))
	}
	if e.TimestampMs < h.head.timestampMs {
		return code.Invalid(fmt.Sprintf("events[%d].timestamp", e.Sequence), "must not lie before that of the event before")
	}
	h.head.sequence, h.head.timestampMs = e.Sequence, e.TimestampMs
	stored := proto.CloneOf(e)
	stored.FromUser, stored.ClientId = h.member(e.FromMember).GetUser().GetUserId(), ""
	h.change(eventStored{stored})
	h.note(stored)
	for _, r := range wanted.Receipts {
		if err := h.receipt(e.Sequence, r); err != nil {
			return err
		}
	}
	return nil
}

// note takes from an event what else it says: that its member joined or left, or what it has received
// or read.
func (h *history) note(e *eventv1.Event) {
	if m := h.member(e.FromMember); m != nil && (e.Type == typeJoined || e.Type == typeLeft) {
		m = proto.CloneOf(m)
		if e.Type == typeJoined {
			m.JoinedSequence = e.Sequence
		} else {
			m.LeftSequence = e.Sequence
		}
		if _, again := h.members[m.Id]; !again {
			h.changed = append(h.changed, m.Id)
		}
		h.members[m.Id] = m
	}
	what, isReceipt := receiptKinds[e.Type]
	if !isReceipt || len(e.Body) == 0 || e.FromMember == "" {
		return
	}
	target, err := targetOf(e.Body)
	if err != nil || target == 0 || target > e.Sequence {
		return
	}
	mark := &eventv1.Receipt{MemberId: e.FromMember, DeliveredMs: e.TimestampMs}
	if what == seen {
		mark = &eventv1.Receipt{MemberId: e.FromMember, SeenMs: e.TimestampMs}
	}
	h.mark(target, mark)
}

// receipt takes one receipt that the event was exported with.
func (h *history) receipt(sequence uint64, r *eventv1.Receipt) error {
	at := fmt.Sprintf("events[%d].state", sequence)
	if _, err := id.Parse(id.Member, r.MemberId); err != nil {
		return code.Invalid(at, "must name members by their ids")
	}
	if h.receipts++; h.receipts > importReceiptsMax {
		return code.Invalid("events", "must have less than or equal to 4096 receipts")
	}
	if err := checkTime(at, max(r.DeliveredMs, r.SeenMs), h.now); err != nil {
		return err
	}
	h.mark(sequence, r)
	return nil
}

// mark keeps the first time of each kind, and moves the member's cursor.
func (h *history) mark(sequence uint64, r *eventv1.Receipt) {
	key := receiptOf{sequence, r.MemberId}
	old, again := h.marks[key]
	if !again {
		h.marked = append(h.marked, key)
		old = h.view.receipts[key]
	}
	h.marks[key] = &eventv1.Receipt{
		MemberId: r.MemberId, DeliveredMs: cmp.Or(old.GetDeliveredMs(), r.DeliveredMs), SeenMs: cmp.Or(old.GetSeenMs(), r.SeenMs),
	}
	cursor, again := h.cursors[r.MemberId]
	if !again {
		h.moved = append(h.moved, r.MemberId)
		cursor = h.view.cursors[r.MemberId]
	}
	if r.DeliveredMs != 0 {
		cursor = advanced(cursor, r.MemberId, delivered, sequence)
	}
	if r.SeenMs != 0 {
		cursor = advanced(cursor, r.MemberId, seen, sequence)
	}
	h.cursors[r.MemberId] = cursor
}

// member is a member as the events so far leave it.
func (h *history) member(member string) *eventv1.Member {
	if m, ok := h.members[member]; ok {
		return m
	}
	return h.view.members[member]
}

func (h *history) store() {
	for _, key := range h.marked {
		h.change(receiptStored{key.sequence, h.marks[key]})
	}
	for _, member := range h.moved {
		if c := h.cursors[member]; c != nil {
			h.change(cursorMoved{c})
		}
	}
	for _, member := range h.changed {
		h.change(memberChanged{h.members[member]})
	}
}
