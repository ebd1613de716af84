package query

import (
	"encoding/binary"
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
	if len(q.GetTypes()) > TypesMax {
		return nil, code.Invalid("event_type", "must not name more than 64 types")
	}
	reply := &nodev1.Reply{Head: c.head}
	prefix := c.rows.Events()
	lo, hi := under(prefix)
	if q.GetStart() > 0 {
		lo = binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], q.Start)
	}
	if q.GetEnd() > 0 {
		hi = keys.End(binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], q.End))
	}
	if err := p.walk(c.reader, prefix, lo, hi, c.taker(q, reply), reply); err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	return reply, nil
}

// taker lists the events that q's filters let pass, until the bytes are used up. The first event
// always fits, so that every page moves on.
func (c *room) taker(q *nodev1.ListEvents, reply *nodev1.Reply) taker {
	budget := uint64(BytesMax)
	if q.GetBytesMax() > 0 {
		budget = min(budget, q.BytesMax)
	}
	used, authors := uint64(0), map[string]*eventv1.Author{}
	return func(_, value []byte) (taken, full bool, err error) {
		if used > 0 && used+uint64(len(value)) > budget {
			return false, true, nil
		}
		e := &eventv1.Event{}
		if err := e.UnmarshalVT(value); err != nil {
			return false, false, err
		}
		if q.GetExcludeDeleted() && e.DeletedMs != 0 || !matches(q.GetTypes(), e.Type) {
			return false, false, nil
		}
		view, err := c.joined(e, authors)
		if err != nil {
			return false, false, err
		}
		used += uint64(view.SizeVT())
		reply.Events = append(reply.Events, view)
		return true, false, nil
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
