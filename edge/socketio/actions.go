package socketio

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"parley/actors/api"
	actor "parley/actors/conversation"
	"parley/edge/limit"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// call is one request being carried out.
type call struct {
	*conn
	session *session
	request *request
	large   bool // holds a place for a large answer, until that is sent
}

// action carries out a request and gives the body of the answer.
type action func(c *call, ctx context.Context) (any, error)

// actions are the requests of the socket besides sending events: the protocol's table of contents.
var actions = map[string]action{
	"user:conversations":         (*call).listConversations,
	"user:get":                   (*call).getUser,
	"new:conversation":           (*call).createConversation,
	"conversation:get":           (*call).getConversation,
	"conversation:events":        (*call).listEvents,
	"conversation:join":          (*call).join,
	"conversation:invite":        (*call).invite,
	"conversation:member:delete": (*call).removeMember,
	"conversation:delete":        (*call).deleteConversation,
	"event:delete":               (*call).deleteEvent,
	"push:register":              (*call).registerDevice,
	"push:unregister":            (*call).unregisterDevice,
	"push:subscribe":             (*call).unmute,
	"push:unsubscribe":           (*call).mute,
}

// conversation checks that the request names one and that the token covers what REST would call.
func (c *call) conversation(method, rest string) (string, error) {
	if c.request.cid == "" {
		return "", code.Invalid("cid", "is required")
	}
	return c.request.cid, c.session.allows(method, "/v1/conversations/"+c.request.cid+rest)
}

func (c *call) listConversations(ctx context.Context) (any, error) {
	user := c.session.principal.GetUserId()
	if err := c.session.allows(http.MethodGet, "/v1/users/"+user+"/conversations"); err != nil {
		return nil, err
	}
	items := []conversationItem{}
	page := &nodev1.Page{Size: pageSize}
	for {
		r, err := c.handler.Cluster.ListMemberships(ctx, c.session.principal, user, page, []eventv1.MemberState{stateJoined, stateInvited})
		if err != nil {
			return nil, err
		}
		for i, k := range r.GetConversations() {
			items = append(items, itemOf(k, r.GetMemberships()[i], r.GetHeads()[i]))
		}
		if len(r.GetNext()) == 0 {
			return items, nil
		}
		page = &nodev1.Page{Size: pageSize, After: r.GetNext()}
	}
}

func (c *call) getUser(ctx context.Context) (any, error) {
	id := c.request.field("user_id")
	if id == "" {
		id = c.session.principal.GetUserId()
	}
	if err := c.session.allows(http.MethodGet, "/v1/users/"+id); err != nil {
		return nil, err
	}
	u, err := c.handler.Cluster.GetUser(ctx, c.session.principal, api.UserRef{ID: id})
	if err != nil {
		return nil, err
	}
	return userOf(u, u.GetId() == c.session.principal.GetUserId()), nil
}

func (c *call) createConversation(ctx context.Context) (any, error) {
	if err := c.session.allows(http.MethodPost, "/v1/conversations"); err != nil {
		return nil, err
	}
	k, _, err := c.handler.Cluster.CreateConversation(ctx, c.session.principal, "", &eventv1.Conversation{
		Name: c.request.field("name"), DisplayName: c.request.field("display_name"),
	})
	if err != nil {
		return nil, err
	}
	return createdOf(k), nil
}

func (c *call) getConversation(ctx context.Context) (any, error) {
	conv, err := c.conversation(http.MethodGet, "")
	if err != nil {
		return nil, err
	}
	r, err := c.handler.Cluster.GetConversation(ctx, c.session.principal, conv, true)
	if err != nil {
		return nil, err
	}
	if err := c.listRest(ctx, conv, r); err != nil {
		return nil, err
	}
	return conversationOf(r), nil
}

// listRest adds the members that one answer of the cluster does not hold. Where there are too many for this wire it
// gives the first, and the asker's own in any case: without that one the SDKs can do nothing in a conversation.
func (c *call) listRest(ctx context.Context, conv string, r *nodev1.Reply) error {
	const growth = 2 // a member takes about twice as much in JSON as in its row
	for size := r.SizeVT(); len(r.Next) > 0 && size < c.handler.options.AnswerBytesMax/growth; {
		if err := c.grow(ctx); err != nil {
			return err
		}
		more, err := c.handler.Cluster.ListMembers(ctx, c.session.principal, conv, &nodev1.Page{After: r.Next}, false)
		if err != nil {
			return err
		}
		r.Members, r.Next = append(r.Members, more.GetMembers()...), more.GetNext()
		size += more.SizeVT()
	}
	if len(r.Next) == 0 {
		return nil
	}
	c.handler.metrics.dropped.WithLabelValues("too_many_members").Inc()
	own := r.GetMember()
	listed := func(m *eventv1.Member) bool { return m.GetId() == own.GetId() }
	if own != nil && !slices.ContainsFunc(r.Members, listed) {
		r.Members = append(r.Members, own)
	}
	return nil
}

// listEvents gives the whole range: this wire knows no pages. It is read in bounded steps; an
// answer that grows large takes one of a few places until it has left.
func (c *call) listEvents(ctx context.Context) (any, error) {
	conv, err := c.conversation(http.MethodGet, "/events")
	if err != nil {
		return nil, err
	}
	l := &nodev1.ListEvents{Start: c.request.number("start_id"), End: c.request.number("end_id"), BytesMax: 256 << 10}
	if l.End == 0 && !absent(c.request.find("end_id")) {
		l.Start, l.End = limit.SequenceMax, limit.SequenceMax // up to the one before the first there is none
	}
	out := []byte{'['}
	const large = 1 << 20
	for at := []byte(nil); ; {
		l.Page = &nodev1.Page{Size: pageSize, After: at}
		r, err := c.handler.Cluster.ListEvents(ctx, c.session.principal, conv, l)
		if err != nil {
			return nil, err
		}
		out = c.appendEvents(out, r.GetEvents())
		if at = r.GetNext(); len(at) == 0 {
			return json.RawMessage(append(out, ']')), nil
		}
		if len(out) > c.handler.options.AnswerBytesMax {
			return nil, code.New(code.TooLarge, "the range is too large for one answer; ask for a part of it by start_id and end_id")
		}
		if len(out) > large {
			if err := c.grow(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// grow waits for a place for a large answer, in bounds.
func (c *call) grow(ctx context.Context) error {
	if c.large {
		return nil
	}
	select {
	case c.handler.large <- struct{}{}:
		c.large = true
		return nil
	case <-ctx.Done():
		return code.New(code.Unavailable, "too many large answers are being made; try again")
	}
}

// sent gives the place back.
func (c *call) sent() {
	if c.large {
		<-c.handler.large
	}
}

func (c *call) appendEvents(dst []byte, events []*nodev1.EventView) []byte {
	for _, v := range events {
		before := len(dst)
		if before > 1 {
			dst = append(dst, ',')
		}
		next, ok := c.session.dialect.Generation.AppendHistory(dst, v)
		if !ok {
			dst = dst[:before]
			continue
		}
		dst = next
	}
	return dst
}

// number reads a sequence of the body, a number or a numeric string; 0 for none.
func (r *request) number(name string) uint64 {
	n, err := sequenceOf(r.find(name))
	if err != nil {
		return 0
	}
	return n
}

func (c *call) join(ctx context.Context) (any, error) {
	conv, err := c.conversation(http.MethodPost, "/members")
	if err != nil {
		return nil, err
	}
	ref := api.UserRef{ID: c.request.field("user_id"), Name: c.request.field("user_name")}
	r, err := c.handler.Cluster.AddMember(ctx, c.session.principal, conv, c.request.key(), ref, &nodev1.AddMember{
		Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(actor.AppChannel), MemberId: c.request.field("member_id"),
	})
	if err != nil {
		return nil, err
	}
	return memberOf(r.GetMember()), nil
}

func (c *call) invite(ctx context.Context) (any, error) {
	conv, err := c.conversation(http.MethodPost, "/members")
	if err != nil {
		return nil, err
	}
	ref := api.UserRef{ID: c.request.field("user_id"), Name: c.request.field("user_name")}
	if ref == (api.UserRef{}) {
		return nil, code.Invalid("user_name", "or user_id is required")
	}
	r, err := c.handler.Cluster.AddMember(ctx, c.session.principal, conv, c.request.key(), ref, &nodev1.AddMember{
		Action: nodev1.MemberAction_MEMBER_ACTION_INVITE, Channel: []byte(actor.AppChannel), Media: c.request.object("media"),
	})
	if err != nil {
		return nil, err
	}
	return memberOf(r.GetMember()), nil
}

// removeMember lets a member leave, rejects an invitation or removes somebody else.
func (c *call) removeMember(ctx context.Context) (any, error) {
	member := c.request.field("member_id")
	conv, err := c.conversation(http.MethodDelete, "/members/"+member)
	if err != nil {
		return nil, err
	}
	r, err := c.handler.Cluster.UpdateMember(ctx, c.session.principal, conv, c.request.key(), &nodev1.UpdateMember{
		MemberId: member, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE, Reason: c.request.object("reason"),
	})
	if err != nil {
		return nil, err
	}
	return memberOf(r.GetMember()), nil
}

func (c *call) deleteConversation(ctx context.Context) (any, error) {
	conv, err := c.conversation(http.MethodDelete, "")
	if err != nil {
		return nil, err
	}
	return struct{}{}, c.handler.Cluster.DeleteConversation(ctx, c.session.principal, conv)
}

func (c *call) deleteEvent(ctx context.Context) (any, error) {
	sequence := c.request.number("event_id")
	conv, err := c.conversation(http.MethodDelete, "/events/"+strconv.FormatUint(sequence, 10))
	if err != nil {
		return nil, err
	}
	if sequence == 0 {
		return nil, code.New(code.EventNotFound, "body.event_id names no event")
	}
	target := &nodev1.DeleteEvent{Sequence: sequence, From: c.request.sender()}
	r, err := c.handler.Cluster.DeleteEvent(ctx, c.session.principal, conv, c.request.key(), target)
	if err != nil {
		return nil, err
	}
	return postedOf(r), nil
}

// sender is the member that the request names; the cluster takes the user's own otherwise.
func (r *request) sender() string {
	if strings.HasPrefix(r.from, "MEM-") {
		return r.from
	}
	return ""
}
