package rest

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"parley/edge/limit"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// eventBody is an event that a client sends.
type eventBody struct {
	Type string `json:"type" example:"text" doc:"One of the types that clients may send; see docs/protocol.md."`
	From string `json:"from,omitempty" doc:"The sending member; a user's own if absent."`
	To   string `json:"to,omitempty" doc:"The addressed member, for a few types."`
	Body object `json:"body,omitempty"`
}

// typeMax bounds an event type, in characters.
const typeMax = 100

// sendEvent posts what the body says, in any generation.
func (h *Handler) sendEvent(ctx context.Context, c *call) (string, *nodev1.Reply, error) {
	in := c.body
	kind := in.text("type", typeMax)
	in.required("type", kind != nil)
	e := &nodev1.PostEvent{
		Type: value(kind), From: value(in.anyText("from", idMax)), To: value(in.anyText("to", idMax)), Body: in.raw("body"),
	}
	if err := c.faults.err(); err != nil {
		return "", nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return "", nil, err
	}
	r, err := h.Cluster.Post(ctx, c.who, conv, c.once(), e)
	return conv, r, err
}

func (h *Handler) postEvent(ctx context.Context, c *call) (any, error) {
	conv, r, err := h.sendEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	if r.GetEvent().GetEvent() == nil {
		return relayed{stamp.Of(r.GetTimestampMs())}, nil
	}
	return c.event(conv, r.Event), nil
}

// sequence is the event number of the path.
func (c *call) sequence() (uint64, error) {
	n, err := strconv.ParseUint(c.parameters["event"], 10, 64)
	if err != nil || n == 0 {
		return 0, code.New(code.EventNotFound, "Event does not exist.")
	}
	return n, nil
}

func (h *Handler) findEvent(ctx context.Context, c *call) (string, *nodev1.EventView, error) {
	n, err := c.sequence()
	if err != nil {
		return "", nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return "", nil, err
	}
	v, err := h.Cluster.GetEvent(ctx, c.who, conv, n)
	return conv, v, err
}

func (h *Handler) getEvent(ctx context.Context, c *call) (any, error) {
	conv, v, err := h.findEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.event(conv, v), nil
}

// removeEvent deletes an event, in any generation.
func (h *Handler) removeEvent(ctx context.Context, c *call) error {
	from := value(c.query.anyText("from", idMax))
	if from == "" {
		from = value(c.body.anyText("from", idMax))
	}
	n, err := c.sequence()
	if err != nil {
		return err
	}
	if err := c.faults.err(); err != nil {
		return err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return err
	}
	_, err = h.Cluster.DeleteEvent(ctx, c.who, conv, c.once(), &nodev1.DeleteEvent{Sequence: n, From: from})
	return err
}

func (h *Handler) deleteEvent(ctx context.Context, c *call) (any, error) {
	return nil, h.removeEvent(ctx, c)
}

// lastSequence bounds the numbers of events, and with them every number that a client sends.
const lastSequence = limit.SequenceMax

// readRange reads which events are wanted, without the page.
func (h *Handler) readRange(in *input) *nodev1.ListEvents {
	l := &nodev1.ListEvents{ExcludeDeleted: in.flag("exclude_deleted_events"), BytesMax: uint64(h.options.EventBytesMax)}
	if n := in.whole("start_id", 0, lastSequence); n != nil {
		l.Start = uint64(*n)
	}
	switch n := in.whole("end_id", 0, lastSequence); {
	case n == nil:
	case *n == 0: // up to the one before the first there is none
		l.Start, l.End = lastSequence, lastSequence
	default:
		l.End = uint64(*n)
	}
	for t := range strings.SplitSeq(value(in.anyText("event_type", 2048)), ",") {
		if t = strings.TrimSpace(t); t != "" {
			l.Types = append(l.Types, t)
		}
	}
	in.whole("filter_group_version", 0, lastSequence)
	if in.choice("filter_group_type", "ChatEvents") != "" {
		l.Types = common(l.Types, chatEvents)
	}
	return l
}

// chatEvents are the types that the newest chat clients know. They fail on any other, so they ask
// for this group.
var chatEvents = []string{"member:invited", "member:joined", "member:left", "message", "text", "image", "custom:*", "event:delete"}

// noType is a filter that lets nothing pass: no event has this type.
const noType = "none"

// common gives the types that both lists let pass. A list without types lets all pass.
func common(asked, group []string) []string {
	if len(asked) == 0 {
		return group
	}
	var both []string
	for _, a := range asked {
		for _, g := range group {
			if narrow := narrower(a, g); narrow != "" && !slices.Contains(both, narrow) {
				both = append(both, narrow)
			}
		}
	}
	if len(both) == 0 {
		return []string{noType}
	}
	return both
}

// narrower gives what two types or beginnings have in common: one of them, or nothing.
func narrower(a, b string) string {
	aBegins, aGlob := strings.CutSuffix(a, "*")
	bBegins, bGlob := strings.CutSuffix(b, "*")
	switch {
	case a == b, bGlob && strings.HasPrefix(aBegins, bBegins):
		return a
	case aGlob && strings.HasPrefix(bBegins, aBegins):
		return b
	}
	return ""
}

func (h *Handler) listEvents(ctx context.Context, c *call) (any, error) {
	l, err := h.pageEvents(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Events, func(v *nodev1.EventView) event { return c.event(l.owner, v) })
	// Two client libraries read the list itself here, one reads it under its name.
	if strings.Contains(c.request.UserAgent(), "vonage-java-sdk") {
		return page[eventsOf]{l.size, eventsOf{items}, l.links}, nil
	}
	return page[[]event]{l.size, items, l.links}, nil
}
