package query

import (
	"fmt"
	"strings"

	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// event gives one event with its author and receipts.
func (c *room) event(sequence uint64) (*nodev1.Reply, error) {
	e, err := c.rows.Event(c.reader, sequence)
	if err != nil {
		return nil, fmt.Errorf("query event: %w", err)
	}
	if e == nil {
		return nil, code.New(code.EventNotFound, "event %d does not exist", sequence)
	}
	view, err := c.joined(e, map[string]*eventv1.Author{})
	if err != nil {
		return nil, fmt.Errorf("query event: %w", err)
	}
	return &nodev1.Reply{Event: view, Head: c.head}, nil
}

// events lists a range of the log, filtered, with authors and receipts, and the head.
func (c *room) events(q *nodev1.ListEvents) (*nodev1.Reply, error) {
	p, err := pageOf(q.GetPage())
	if err != nil {
		return nil, err
	}
	if err := p.within(8); err != nil {
		return nil, err
	}
	if len(q.GetTypes()) > typesMax {
		return nil, code.Invalid("event_type", fmt.Sprintf("must not name more than %d types", typesMax))
	}
	reply := &nodev1.Reply{Head: c.head}
	s := under(c.rows.Events())
	if q.GetStart() > 0 {
		s.lo = s.number(q.Start)
	}
	if q.GetEnd() > 0 {
		s.hi = keys.End(s.number(q.End))
	}
	if q.GetBytesMax() > 0 {
		p.bytes = int(min(BytesMax, q.BytesMax))
	}
	if err := p.walk(c.reader, s, c.taker(q, reply), reply); err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	return reply, nil
}

// taker lists the events that q's filters let pass.
func (c *room) taker(q *nodev1.ListEvents, reply *nodev1.Reply) taker {
	authors := map[string]*eventv1.Author{}
	return func(_, value []byte) (*item, error) {
		e := &eventv1.Event{}
		if err := e.UnmarshalVT(value); err != nil {
			return nil, err
		}
		if q.GetExcludeDeleted() && e.DeletedMs != 0 || !matches(q.GetTypes(), e.Type) {
			return nil, nil
		}
		view, err := c.joined(e, authors)
		if err != nil {
			return nil, err
		}
		return &item{view.SizeVT(), func() { reply.Events = append(reply.Events, view) }}, nil
	}
}

// joined adds author and receipts to an event. authors remembers members of the same answer.
func (c *room) joined(e *eventv1.Event, authors map[string]*eventv1.Author) (*nodev1.EventView, error) {
	view := &nodev1.EventView{Event: e}
	author, known := authors[e.FromMember]
	if !known && e.FromMember != "" {
		m, err := c.rows.Member(c.reader, e.FromMember)
		if err != nil {
			return nil, err
		}
		author = m.GetUser()
		authors[e.FromMember] = author
	}
	view.Author = author
	var err error
	view.Receipts, err = c.rows.Receipts(c.reader, e.Sequence)
	return view, err
}

// matches says whether a type passes a filter of exact types and of globs that end in "*".
func matches(filter []string, eventType string) bool {
	if len(filter) == 0 {
		return true
	}
	for _, f := range filter {
		if prefix, glob := strings.CutSuffix(f, "*"); glob && strings.HasPrefix(eventType, prefix) || f == eventType {
			return true
		}
	}
	return false
}
