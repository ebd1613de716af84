package conversation

import (
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// loader brings the rows that a command names into the view. Rows that are there already win:
// they may stand for a change of the same batch. The first error ends it.
type loader struct {
	reader store.Reader
	rows   Rows
	view   *view
	err    error
}

func (l *loader) command(cmd *nodev1.Command) {
	if l.importing(cmd) {
		return
	}
	if !l.view.active() {
		if b, ok := cmd.Body.(*nodev1.Command_PurgeConversation); ok {
			l.purge(b.PurgeConversation.GetAfter())
		}
		return
	}
	l.newest(cmd.GetPrincipal().GetUserId())
	l.first(cmd)
	switch b := cmd.Body.(type) {
	case *nodev1.Command_AddMember:
		l.newest(b.AddMember.GetUser().GetUserId())
		l.member(b.AddMember.GetMemberId())
		l.member(b.AddMember.GetMemberIdInviting())
	case *nodev1.Command_UpdateMember:
		l.member(b.UpdateMember.GetMemberId())
		l.member(b.UpdateMember.GetFrom())
	case *nodev1.Command_PostEvent:
		l.member(b.PostEvent.GetFrom())
		if _, ok := receiptKinds[b.PostEvent.GetType()]; ok {
			sequence, _ := targetOf(b.PostEvent.GetBody())
			l.receipt(l.sender(cmd, b.PostEvent.GetFrom()), sequence)
		}
	case *nodev1.Command_DeleteEvent:
		l.member(b.DeleteEvent.GetFrom())
		l.event(b.DeleteEvent.GetSequence())
		l.member(l.view.events[b.DeleteEvent.GetSequence()].GetFromMember())
	case *nodev1.Command_AdvanceCursor:
		c := b.AdvanceCursor
		l.member(c.GetFrom())
		for _, sequence := range []uint64{c.GetDelivered(), c.GetSeen()} {
			l.event(sequence)
			l.receipt(l.sender(cmd, c.GetFrom()), sequence)
		}
	case *nodev1.Command_AdvanceCursors:
		l.advances(b.AdvanceCursors.GetCursors())
	case *nodev1.Command_UserChanged:
		l.newest(b.UserChanged.GetUser().GetUserId())
	}
}

// advances brings whom the cursors of many users are of, and how far they are. Where receipts are
// events nothing is done with them.
func (l *loader) advances(cursors []*nodev1.UserCursor) {
	if l.view.head.joined <= ReceiptMembersMax {
		return
	}
	for _, c := range cursors[:min(len(cursors), AdvanceCursorsMax)] {
		l.newest(c.GetUserId())
		l.member(c.GetCursor().GetFrom())
		l.cursor(c.GetCursor().GetFrom())
		l.cursor(l.view.newest[c.GetUserId()])
	}
}

// sender is the member that a command acts as: the one it names, else the asker's own.
func (l *loader) sender(cmd *nodev1.Command, from string) string {
	if from != "" {
		return from
	}
	return l.view.newest[cmd.GetPrincipal().GetUserId()]
}

func (l *loader) member(member string) {
	if _, known := l.view.members[member]; known || member == "" || l.err != nil {
		return
	}
	m, err := l.rows.Member(l.reader, member)
	if err != nil {
		l.err = err
		return
	}
	l.view.members[member] = m
}

func (l *loader) newest(user string) {
	if user == "" || l.err != nil {
		return
	}
	member, known := l.view.newest[user]
	if !known {
		if member, l.err = l.rows.MemberOfUser(l.reader, user); l.err != nil {
			return
		}
		l.view.newest[user] = member
	}
	l.member(member)
}

func (l *loader) event(sequence uint64) {
	if _, known := l.view.events[sequence]; known || sequence == 0 || sequence > l.view.head.sequence || l.err != nil {
		return
	}
	var e *eventv1.Event
	if e, l.err = l.rows.Event(l.reader, sequence); l.err == nil {
		l.view.events[sequence] = e
	}
}

// first finds what the command's client id led to before, and that event with its member.
func (l *loader) first(cmd *nodev1.Command) {
	if cmd.ClientId == "" || len(cmd.ClientId) > ClientIDBytesMax || l.err != nil {
		return
	}
	key := client{cmd.GetPrincipal().GetUserId(), cmd.ClientId}
	known, ok := l.view.firsts[key]
	if !ok {
		if known.sequence, l.err = l.rows.first(l.reader, key.user, key.id); l.err != nil {
			return
		}
		l.view.firsts[key] = known
	}
	l.event(known.sequence)
	l.member(l.view.events[known.sequence].GetFromMember())
}

func (l *loader) receipt(member string, sequence uint64) {
	l.member(member)
	l.cursor(member)
	if member == "" || l.err != nil {
		return
	}
	key := receiptOf{sequence, member}
	if _, known := l.view.receipts[key]; known || sequence == 0 || sequence > l.view.head.sequence {
		return
	}
	var receipt *eventv1.Receipt
	if receipt, l.err = l.rows.Receipt(l.reader, sequence, member); l.err == nil {
		l.view.receipts[key] = receipt
	}
}

func (l *loader) cursor(member string) {
	if _, known := l.view.cursors[member]; known || member == "" || l.err != nil {
		return
	}
	var c *eventv1.Cursor
	if c, l.err = l.rows.Cursor(l.reader, member); l.err == nil {
		l.view.cursors[member] = c
	}
}

// importing brings what a step of an import names; false for any other command.
func (l *loader) importing(cmd *nodev1.Command) bool {
	switch b := cmd.Body.(type) {
	case *nodev1.Command_ImportMembers:
		for _, m := range b.ImportMembers.GetMembers() {
			l.member(m.GetId())
			l.newest(m.GetUser().GetUserId())
		}
	case *nodev1.Command_ImportEvents:
		for _, e := range b.ImportEvents.GetEvents() {
			l.imported(e)
		}
	case *nodev1.Command_AnnounceMembers:
		l.announced(b.AnnounceMembers.GetAfter())
	default:
		return false
	}
	return true
}

func (l *loader) imported(e *nodev1.ImportedEvent) {
	l.member(e.GetEvent().GetFromMember())
	l.event(e.GetEvent().GetSequence())
	if _, ok := receiptKinds[e.GetEvent().GetType()]; ok && len(e.Event.Body) > 0 {
		sequence, _ := targetOf(e.Event.Body)
		l.receipt(e.Event.FromMember, sequence)
	}
	for _, r := range e.GetReceipts() {
		l.receipt(r.GetMemberId(), e.GetEvent().GetSequence())
	}
}

// announced reads the next members to tell of an import, with the newest member of each one's user.
func (l *loader) announced(after uint64) {
	l.view.announced = nil
	if after >= l.view.head.members || l.err != nil {
		return
	}
	last := min(after+AnnounceMembersMax, l.view.head.members)
	l.err = l.rows.Members(l.reader, after+1, last, false, func(m *eventv1.Member) bool {
		l.view.announced = append(l.view.announced, m)
		return true
	})
	for i, m := range l.view.announced {
		l.newest(m.GetUser().GetUserId())
		if changed := l.view.members[m.Id]; changed != nil {
			l.view.announced[i] = changed
		}
	}
}

// purge reads the next members to tell. Nothing changes the members of a deleted conversation,
// and the step runs after the deletion was committed, so the rows are complete.
func (l *loader) purge(after uint64) {
	l.view.purge = nil
	if l.view.meta == nil || after >= l.view.head.members {
		return
	}
	last := min(after+PurgeMembersMax, l.view.head.members)
	l.err = l.rows.Members(l.reader, after+1, last, false, func(m *eventv1.Member) bool {
		l.view.purge = append(l.view.purge, m)
		return true
	})
}
