package conversation

import (
	"strings"

	"parley/actors/conversation/document"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// post stores or relays what a client sends.
func (d *draft) post(p *nodev1.PostEvent) (*nodev1.Reply, error) {
	from, err := d.sender(p.From)
	if err != nil {
		return nil, err
	}
	body, err := checkPost(p)
	if err != nil {
		return nil, err
	}
	switch kindOf(p.Type).treatment {
	case stored:
		e := d.store(&eventv1.Event{Type: p.Type, To: p.To, Body: body}, from)
		return &nodev1.Reply{Event: e, Head: d.head.message(), TimestampMs: e.Event.TimestampMs}, nil
	case receipt:
		return d.receipt(p, from)
	default:
		return d.relay(&eventv1.Event{Type: p.Type, To: p.To, Body: body}, from), nil
	}
}

// checkPost checks the input of a post and gives the body to store.
func checkPost(p *nodev1.PostEvent) ([]byte, error) {
	if err := checkType(p.Type); err != nil {
		return nil, err
	}
	if err := document.CheckText(p.To, TypeCharactersMax); err != nil {
		return nil, code.Invalid("to", err.Error())
	}
	body := p.Body
	if len(body) == 0 {
		body = []byte("{}")
	}
	sizeMax := BodyBytesMax
	if isCustom(p.Type) {
		sizeMax = CustomBodyBytesMax
	}
	if err := document.Check(body, sizeMax); err != nil {
		return nil, code.Invalid("body", err.Error())
	}
	if check := kindOf(p.Type).check; check != nil {
		fields := document.Fields(body)
		if err := check(fields); err != nil {
			return nil, err
		}
		if target, ok := sequenceOf(fields["event_id"]); ok && strings.HasPrefix(p.Type, typeMessage+":") {
			return numbered(body, target), nil
		}
	}
	return body, nil
}

// relay tells whoever listens now. The event has a time and no sequence: it is not in the log.
func (d *draft) relay(e *eventv1.Event, from *eventv1.Member) *nodev1.Reply {
	e.TimestampMs = d.time()
	if from != nil {
		e.FromMember, e.FromUser = from.Id, from.User.GetUserId()
	}
	d.tell(&nodev1.Fanout{Body: &nodev1.Fanout_Soft{Soft: viewOf(e, from)}})
	return &nodev1.Reply{TimestampMs: e.TimestampMs}
}

// deleteEvent empties an event: it keeps its id and type. What the platform wrote stays.
func (d *draft) deleteEvent(c *nodev1.DeleteEvent) (*nodev1.Reply, error) {
	by, err := d.sender(c.From)
	if err != nil {
		return nil, err
	}
	target := d.view.events[c.Sequence]
	if target == nil {
		return nil, eventNotFound(c.Sequence)
	}
	if !d.admin() && target.FromUser != by.User.UserId {
		return nil, code.New(code.EventPermission, "only its author or an administrator may delete event %d", c.Sequence)
	}
	if kindOf(target.Type).treatment == refused {
		return nil, code.New(code.EventPermission, "event %d is part of the conversation's record and cannot be deleted", c.Sequence)
	}
	if target.DeletedMs != 0 {
		return &nodev1.Reply{Event: viewOf(target, d.view.members[target.FromMember]), Duplicate: true, Head: d.head.message()}, nil
	}
	emptied := &eventv1.Event{
		Sequence: target.Sequence, Type: target.Type, FromMember: target.FromMember, FromUser: target.FromUser,
		To: target.To, TimestampMs: target.TimestampMs, ClientId: target.ClientId, DeletedMs: d.time(),
	}
	d.change(eventStored{emptied})
	e := d.store(&eventv1.Event{Type: typeEventDelete, Body: targetBody(c.Sequence)}, by)
	return &nodev1.Reply{Event: e, Head: d.head.message(), TimestampMs: e.Event.TimestampMs}, nil
}

func eventNotFound(sequence uint64) error {
	return code.New(code.EventNotFound, "event %d does not exist", sequence)
}
