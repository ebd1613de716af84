package conversation

import (
	"fmt"

	"parley/actors/grain"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// draft collects what one command leads to. It reads the view and never changes it.
type draft struct {
	view   *view
	entity grain.Entity
	now    int64
	cmd    *nodev1.Command

	head    head // after the changes so far
	changes []change
	outbox  []*nodev1.OutboxRow
	fanout  []*nodev1.Fanout
	proven  bool
}

func (d *draft) folded() folded { return folded{changes: d.changes, head: d.head} }

// decide is the table of contents of what a conversation can be asked.
func (d *draft) decide() (*nodev1.Reply, error) {
	if len(d.cmd.ClientId) > ClientIDBytesMax {
		return nil, code.Invalid("client_id", fmt.Sprintf("must not be longer than %d bytes", ClientIDBytesMax))
	}
	switch b := d.cmd.Body.(type) {
	case *nodev1.Command_CreateConversation:
		return d.create(b.CreateConversation.GetConversation())
	case *nodev1.Command_Probe:
		return d.probe(b.Probe)
	case *nodev1.Command_PurgeConversation:
		return d.purge(b.PurgeConversation.GetAfter())
	case *nodev1.Command_UserChanged:
		return d.userChanged(b.UserChanged)
	}
	if reply, err, ok := d.importing(); ok {
		return reply, err
	}
	if !d.view.active() {
		return nil, notFound()
	}
	if reply := d.firstResult(); reply != nil {
		return reply, nil
	}
	switch b := d.cmd.Body.(type) {
	case *nodev1.Command_UpdateConversation:
		return d.update(b.UpdateConversation)
	case *nodev1.Command_DeleteConversation:
		return d.remove()
	case *nodev1.Command_AddMember:
		return d.addMember(b.AddMember)
	case *nodev1.Command_UpdateMember:
		return d.updateMember(b.UpdateMember)
	case *nodev1.Command_PostEvent:
		return d.post(b.PostEvent)
	case *nodev1.Command_DeleteEvent:
		return d.deleteEvent(b.DeleteEvent)
	case *nodev1.Command_AdvanceCursor:
		return d.advance(b.AdvanceCursor)
	case *nodev1.Command_AdvanceCursors:
		return d.advanceAll(b.AdvanceCursors.GetCursors())
	default:
		return nil, code.New(code.InvalidEvent, "a conversation does not know this command")
	}
}

// firstResult answers a command whose client id has stored an event before: nil when it has not.
func (d *draft) firstResult() *nodev1.Reply {
	if d.cmd.ClientId == "" {
		return nil
	}
	known := d.view.firsts[client{d.cmd.GetPrincipal().GetUserId(), d.cmd.ClientId}]
	event := d.view.events[known.sequence]
	if event == nil {
		return nil
	}
	d.proven = !known.pending
	author := d.view.members[event.FromMember]
	return &nodev1.Reply{
		Event: viewOf(event, author), Member: asOf(author, event), Duplicate: true, Head: d.head.message(),
		TimestampMs: event.TimestampMs,
	}
}

// store appends an event to the log: it gets the next sequence, and a time that is not before
// the last event's. The client id of the command now leads to it.
func (d *draft) store(e *eventv1.Event, author *eventv1.Member) *nodev1.EventView {
	d.head.sequence++
	d.head.timestampMs = max(d.now, d.head.timestampMs)
	e.Sequence, e.TimestampMs, e.ClientId = d.head.sequence, d.head.timestampMs, d.cmd.ClientId
	if author != nil {
		e.FromMember, e.FromUser = author.Id, author.User.UserId
	}
	d.change(eventStored{e})
	if d.cmd.ClientId != "" {
		d.change(clientAnswered{client{d.cmd.GetPrincipal().GetUserId(), d.cmd.ClientId}, e.Sequence})
	}
	d.deliver(e)
	stored := viewOf(e, author)
	d.tell(&nodev1.Fanout{Body: &nodev1.Fanout_Event{Event: stored}})
	return stored
}

func (d *draft) change(c ...change) { d.changes = append(d.changes, c...) }

// tell hands f to the edges that want this conversation, after the commit.
func (d *draft) tell(f *nodev1.Fanout) {
	f.ApplicationId, f.Id, f.Head = d.entity.Application, d.entity.ID, d.head.sequence
	d.fanout = append(d.fanout, f)
}

// send leaves work for another entity in the outbox.
func (d *draft) send(kind nodev1.Kind, target string, cmd *nodev1.Command) {
	cmd.Principal = &nodev1.Principal{ApplicationId: d.entity.Application, Admin: true}
	d.outbox = append(d.outbox, &nodev1.OutboxRow{
		TargetKind: kind, ApplicationId: d.entity.Application, TargetId: target,
		SourceId: d.entity.ID, Command: cmd, CreatedMs: d.now,
	})
}

// viewOf joins an event with what its rendering needs.
func viewOf(e *eventv1.Event, author *eventv1.Member) *nodev1.EventView {
	return &nodev1.EventView{Event: e, Author: author.GetUser()}
}
