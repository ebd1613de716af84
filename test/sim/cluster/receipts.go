package cluster

import (
	"fmt"
	"time"

	"parley/actors/conversation"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// fillAtOnce is how many members come to a room between two flushes.
const fillAtOnce = 20

// fill makes a room large, by members who never come: there receipts are no events.
//
// All nodes flush every now and then. The first memtable of a store's life holds 256 KiB, whatever its
// options say, and is flushed when it is full, at a moment that no seed decides: a power cut would find
// more or less of it on the disk.
func (w *World) fill(r room) error {
	for missing := conversation.ReceiptMembersMax + 1; missing > 0; missing -= fillAtOnce {
		if err := w.enter(r, min(missing, fillAtOnce)); err != nil {
			return fmt.Errorf("fill %s: %w", r, err)
		}
		for _, name := range w.running() {
			w.nodes[name].flush()
		}
	}
	return nil
}

// enter makes so many strangers members of a room.
func (w *World) enter(r room, strangers int) (failed error) {
	missing := strangers
	for range strangers {
		w.ids++
		member, user := fixedID("MEM-", w.ids), fixedID("USR-", w.ids)
		w.userOf[member] = user
		w.nodes["n1"].call(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: r.application, Id: r.id,
			Command: &nodev1.Command{Principal: nodeOf(r.application), ClientId: member,
				Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{NewMemberId: member,
					Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, User: &eventv1.Author{UserId: user, Name: user}}}}},
			func(_ *nodev1.GrainReply, err error) {
				missing--
				if err != nil {
					failed = err
				}
			})
	}
	if !w.await(10*time.Second, func() bool { return missing == 0 }) {
		return errSilent
	}
	return failed
}

// nodeOf is a node that speaks for its clients.
func nodeOf(application string) *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: application, Admin: true}
}

// receipt says how far the device has read, or less: by itself, or with all others of its node.
func (c *client) receipt(r room) {
	told := c.reading(r)
	switch {
	case told == nil:
	case c.w.rng.IntN(3) == 0:
		c.alone(r, *told)
	default:
		c.together(r)
	}
}

// reading is a receipt as the client could send it now, nil when it has been shown nothing.
func (c *client) reading(r room) *history.Receipt {
	shown := c.device.last[r]
	if shown == 0 {
		return nil
	}
	return &history.Receipt{Conversation: r.String(), User: c.user, Member: c.members[r],
		Seen: 1 + c.w.rng.Uint64N(shown), Shown: shown, Began: c.w.stamp()}
}

// alone sends one receipt.
func (c *client) alone(r room, told history.Receipt) {
	move := &nodev1.AdvanceCursor{Delivered: told.Shown, Seen: told.Seen}
	c.command(r, "", &nodev1.Command{Body: &nodev1.Command_AdvanceCursor{AdvanceCursor: move}},
		func(o history.Outcome, reply *nodev1.Reply) {
			told.Outcome, told.Ended = o, c.w.stamp()
			told.Told, told.Member = reply.GetCursor().GetSeen(), reply.GetCursor().GetMemberId()
			c.w.history.Receipts = append(c.w.history.Receipts, told)
		})
}

// together sends, as an edge does, the receipts of all clients of the same node by one command. Each is for
// the member that its client is as far as it knows: one that has left meanwhile is refused.
func (c *client) together(r room) {
	w := c.w
	var all []history.Receipt
	m := &nodev1.AdvanceCursors{}
	for _, other := range w.clients {
		if other.at != c.at || other.application != c.application {
			continue
		}
		if told := other.reading(r); told != nil {
			all = append(all, *told)
			m.Cursors = append(m.Cursors, &nodev1.UserCursor{UserId: other.user,
				Cursor: &nodev1.AdvanceCursor{From: told.Member, Delivered: told.Shown, Seen: told.Seen}})
		}
	}
	c.command(r, "", &nodev1.Command{Principal: nodeOf(c.application), Body: &nodev1.Command_AdvanceCursors{AdvanceCursors: m}},
		func(o history.Outcome, reply *nodev1.Reply) {
			if o == history.Refused || reply.GetCursors().GetApart() {
				return // surely nothing was done
			}
			w.noteTogether(all, o, reply.GetCursors().GetRefused())
		})
}

// noteTogether notes what became of receipts that were sent together. Of each that is not refused, its
// cursor is there now or further.
func (w *World) noteTogether(all []history.Receipt, o history.Outcome, refused []*nodev1.RefusedCursor) {
	for i, told := range all {
		told.Outcome, told.Ended, told.Told, told.AtLeast = o, w.stamp(), told.Seen, true
		for _, no := range refused {
			if int(no.Index) == i {
				told.Outcome = history.Refused
			}
		}
		if told.Outcome == history.Committed {
			w.together++
		}
		w.history.Receipts = append(w.history.Receipts, told)
	}
}
