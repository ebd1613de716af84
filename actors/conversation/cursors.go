package conversation

import (
	"parley/actors/grain"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// advances are the cursors that one command moves, in the order in which they were first named.
type advances struct {
	moved map[string]*eventv1.Cursor // by member
	order []*eventv1.Member
}

// advanceAll moves the cursors of many users, each under its own user's rights and with its own
// outcome: the thousands of receipts that follow a text are a few writes and not thousands. Where
// receipts are events it does nothing, so it may be repeated at will.
func (d *draft) advanceAll(cursors []*nodev1.UserCursor) (*nodev1.Reply, error) {
	if !d.admin() {
		return nil, code.New(code.Permission, "only a node may move the cursors of many users")
	}
	if len(cursors) > AdvanceCursorsMax {
		return nil, code.Invalid("cursors", "must not be too many")
	}
	out := &nodev1.AdvancedCursors{Apart: d.head.joined <= ReceiptMembersMax}
	reply := &nodev1.Reply{TimestampMs: d.time(), Head: d.head.message(), Cursors: out}
	if out.Apart {
		return reply, nil
	}
	a := &advances{moved: make(map[string]*eventv1.Cursor, len(cursors))}
	for i, c := range cursors {
		if err := d.advanceOne(a, c); err != nil {
			out.Refused = append(out.Refused, &nodev1.RefusedCursor{Index: uint32(i), Error: grain.ErrorOf(err)})
		}
	}
	for _, m := range a.order {
		if d.move(m, a.moved[m.Id]) {
			d.tellCursor(m, a.moved[m.Id])
		}
	}
	return reply, nil
}

// advanceOne adds what one of the receipts moves, as a receipt that is posted alone would.
func (d *draft) advanceOne(a *advances, c *nodev1.UserCursor) error {
	user := &nodev1.Principal{ApplicationId: d.entity.Application, UserId: c.GetUserId()}
	from, err := d.view.sender(user, c.GetCursor().GetFrom())
	if err != nil && d.view.stored(user, c.GetCursor()) != nil {
		return nil
	}
	if err != nil {
		return err
	}
	furthest := max(c.GetCursor().GetDelivered(), c.GetCursor().GetSeen())
	if furthest == 0 || furthest > d.head.sequence {
		return eventNotFound(furthest)
	}
	old := a.moved[from.Id]
	if old == nil {
		old = d.view.cursors[from.Id]
		a.order = append(a.order, from)
	}
	next := advanced(old, from.Id, delivered, c.GetCursor().GetDelivered())
	a.moved[from.Id] = advanced(next, from.Id, seen, c.GetCursor().GetSeen())
	return nil
}
