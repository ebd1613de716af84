package conversation

import (
	"encoding/json"
	"strconv"

	"parley/actors/conversation/document"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// receipt stores one member's receipt of one event. While few members are joined it is an event
// of its own, always, besides the row; above that only the cursor moves, and a receipt that moves
// nothing is answered without a write.
func (d *draft) receipt(p *nodev1.PostEvent, from *eventv1.Member) (*nodev1.Reply, error) {
	what := receiptKinds[p.Type]
	sequence, err := targetOf(p.Body)
	if err != nil {
		return nil, err
	}
	if from == nil {
		return nil, code.Invalid("from", "is required")
	}
	if sequence == 0 || sequence > d.head.sequence {
		return nil, eventNotFound(sequence)
	}
	moved := d.move(from, advanced(d.view.cursors[from.Id], from.Id, what, sequence))
	if d.head.joined > ReceiptMembersMax {
		if moved {
			d.tellCursor(from, d.cursor(from))
		}
		return &nodev1.Reply{TimestampMs: d.time(), Head: d.head.message(), Cursor: d.cursor(from)}, nil
	}
	d.mark(from, what, sequence)
	e := d.store(&eventv1.Event{Type: p.Type, To: p.To, Body: numbered(p.Body, sequence)}, from)
	return &nodev1.Reply{Event: e, Head: d.head.message(), Cursor: d.cursor(from), TimestampMs: e.Event.TimestampMs}, nil
}

// advance moves how far a member has received and read. For the events it names it also stores
// what a receipt of them would, if few members are joined, if they are somebody else's content,
// and if it has not been stored before: so that a client which acknowledges whatever it shows
// does not answer receipts with receipts.
func (d *draft) advance(c *nodev1.AdvanceCursor) (*nodev1.Reply, error) {
	from, err := d.sender(c.From)
	if err != nil {
		if at := d.view.stored(d.cmd.GetPrincipal(), c); at != nil {
			return &nodev1.Reply{TimestampMs: d.time(), Cursor: at}, nil
		}
		return nil, err
	}
	if from == nil {
		return nil, code.Invalid("from", "is required")
	}
	if furthest := max(c.Delivered, c.Seen); furthest > d.head.sequence {
		return nil, eventNotFound(furthest)
	}
	next := advanced(d.view.cursors[from.Id], from.Id, delivered, c.Delivered)
	next = advanced(next, from.Id, seen, c.Seen)
	reply := &nodev1.Reply{TimestampMs: d.time(), Head: d.head.message(), Cursor: next}
	if !d.move(from, next) {
		return reply, nil
	}
	if d.head.joined <= ReceiptMembersMax {
		d.acknowledge(reply, from, delivered, c.Delivered)
		d.acknowledge(reply, from, seen, c.Seen)
	}
	d.tellCursor(from, next)
	reply.Head = d.head.message()
	return reply, nil
}

// stored is the cursor of a member who is refused a receipt, perhaps because it has left, if what the receipt says
// is there; else nil. Receipts are repeated when their answers were lost: who is refused what an earlier attempt has
// stored would take it for not done.
func (v *view) stored(p *nodev1.Principal, c *nodev1.AdvanceCursor) *eventv1.Cursor {
	m := v.own(p)
	if c.GetFrom() != "" {
		m = v.members[c.GetFrom()]
	}
	at := v.cursors[m.GetId()]
	switch {
	case !p.GetAdmin() && m.GetUser().GetUserId() != p.GetUserId(), max(c.GetDelivered(), c.GetSeen()) == 0:
		return nil
	case at.GetDelivered() < max(c.GetDelivered(), c.GetSeen()), at.GetSeen() < c.GetSeen():
		return nil
	}
	return at
}

// acknowledge stores the receipt event that a cursor stands for, if there is to be one.
func (d *draft) acknowledge(reply *nodev1.Reply, from *eventv1.Member, what receiptKind, sequence uint64) {
	target := d.view.events[sequence]
	eventType := receiptType(target, what)
	if eventType == "" || target.FromMember == from.Id || d.marked(from, what, sequence) {
		return
	}
	d.mark(from, what, sequence)
	reply.Event = d.store(&eventv1.Event{Type: eventType, Body: targetBody(sequence)}, from)
}

// receiptType is the type of a receipt of target; empty for events that are no content.
func receiptType(target *eventv1.Event, what receiptKind) string {
	word := map[receiptKind]string{delivered: ":delivered", seen: ":seen"}[what]
	switch {
	case target == nil:
		return ""
	case target.Type == typeText, target.Type == typeImage, target.Type == typeMessage:
		return target.Type + word
	case isCustom(target.Type):
		return "event" + word
	default:
		return ""
	}
}

// advanced is the cursor after a receipt: the furthest wins, and what was seen was delivered.
func advanced(c *eventv1.Cursor, member string, what receiptKind, sequence uint64) *eventv1.Cursor {
	next := &eventv1.Cursor{MemberId: member, Delivered: max(c.GetDelivered(), sequence), Seen: c.GetSeen()}
	if what == seen {
		next.Seen = max(next.Seen, sequence)
	}
	return next
}

// move stores the cursor if it is further than before.
func (d *draft) move(m *eventv1.Member, next *eventv1.Cursor) bool {
	old := d.view.cursors[m.Id]
	if next.Delivered == old.GetDelivered() && next.Seen == old.GetSeen() {
		return false
	}
	d.change(cursorMoved{next})
	return true
}

// cursor is m's cursor after the changes so far.
func (d *draft) cursor(m *eventv1.Member) *eventv1.Cursor {
	for _, c := range d.changes {
		if moved, ok := c.(cursorMoved); ok {
			return moved.cursor
		}
	}
	return d.view.cursors[m.Id]
}

// tellCursor tells how far m has come. In a large conversation edges need to know whose it is, to tell it
// to nobody else.
func (d *draft) tellCursor(m *eventv1.Member, to *eventv1.Cursor) {
	f := &nodev1.Fanout{Body: &nodev1.Fanout_Cursor{Cursor: to}}
	if d.head.joined > ReceiptMembersMax {
		f.User = m.User.UserId
	}
	d.tell(f)
}

// mark puts the time of a receipt into its row. The first time stays.
func (d *draft) mark(m *eventv1.Member, what receiptKind, sequence uint64) {
	if d.marked(m, what, sequence) {
		return
	}
	old := d.known(m, sequence)
	r := &eventv1.Receipt{MemberId: m.Id, DeliveredMs: old.GetDeliveredMs(), SeenMs: old.GetSeenMs()}
	if what == seen {
		r.SeenMs = d.time()
	} else {
		r.DeliveredMs = d.time()
	}
	d.change(receiptStored{sequence, r})
}

func (d *draft) marked(m *eventv1.Member, what receiptKind, sequence uint64) bool {
	r := d.known(m, sequence)
	return what == seen && r.GetSeenMs() != 0 || what == delivered && r.GetDeliveredMs() != 0
}

// known is m's receipt of an event after the changes so far.
func (d *draft) known(m *eventv1.Member, sequence uint64) *eventv1.Receipt {
	r := d.view.receipts[receiptOf{sequence, m.Id}]
	for _, c := range d.changes {
		if s, ok := c.(receiptStored); ok && s.sequence == sequence {
			r = s.receipt
		}
	}
	return r
}

// targetOf reads which event a receipt is about: event_id, a number or a numeric string.
func targetOf(body []byte) (uint64, error) {
	raw := document.Fields(body)["event_id"]
	if raw == nil {
		return 0, code.Invalid("body.event_id", "is required")
	}
	sequence, ok := sequenceOf(raw)
	if !ok {
		return 0, code.Invalid("body.event_id", "must be a number")
	}
	return sequence, nil
}

// numbered is the body of a receipt or status with event_id as a number: clients look events up by it, and
// find none under a string.
func numbered(body []byte, sequence uint64) []byte {
	fields := document.Fields(body)
	if document.IsNumber(fields["event_id"]) {
		return body
	}
	fields["event_id"] = strconv.AppendUint(nil, sequence, 10)
	return encode(fields)
}

func sequenceOf(raw json.RawMessage) (uint64, bool) {
	s := string(raw)
	if text, ok := document.String(raw); ok {
		s = text
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func targetBody(sequence uint64) []byte {
	return append(strconv.AppendUint([]byte(`{"event_id":`), sequence, 10), '}')
}
