package rest

import (
	"context"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// The second generation put lists into pages, one level deeper than those after it, and left the
// rest as it was.

type page02[E any] struct {
	PageSize int       `json:"page_size"`
	Cursor   string    `json:"cursor" doc:"Of this page, as it was asked for; empty for the first."`
	Embedded data02[E] `json:"_embedded"`
	Links    pageLinks `json:"_links"`
}

type data02[E any] struct {
	Data E `json:"data"`
}

func pageOf02[E any](l listing, items E) page02[E] {
	p := page02[E]{PageSize: l.size, Embedded: data02[E]{items}, Links: l.links}
	if l.given {
		p.Cursor = l.cursor.String()
	}
	return p
}

type conversation02 struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name,omitempty"`
	ImageURL    string   `json:"image_url,omitempty"`
	Timestamp   stamps   `json:"timestamp"`
	Links       selfLink `json:"_links"`
}

type conversationsOf02 struct {
	Conversations []conversation02 `json:"conversations"`
}

// userConversation02 is a user's conversation; member and state are the user's.
type userConversation02 struct {
	conversation02
	SequenceNumber uint64 `json:"sequence_number"`
	MemberID       string `json:"member_id"`
	State          string `json:"state" enum:"INVITED,JOINED,LEFT" doc:"Of the user's membership."`
}

type userConversationsOf02 struct {
	Conversations []userConversation02 `json:"conversations"`
}

type user02 struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Links selfLink `json:"_links"`
}

type usersOf02 struct {
	Users []user02 `json:"users"`
}

type member02 struct {
	ID          string   `json:"id"`
	Name        string   `json:"name" doc:"The user's."`
	DisplayName string   `json:"display_name,omitempty"`
	UserID      string   `json:"user_id"`
	State       string   `json:"state" enum:"INVITED,JOINED"`
	Links       selfLink `json:"_links"`
}

type membersOf02 struct {
	Members []member02 `json:"members"`
}

func (c *call) conversation02(k *eventv1.Conversation) conversation02 {
	return conversation02{
		ID: k.GetId(), Name: k.GetName(), DisplayName: k.GetDisplayName(), ImageURL: k.GetImageUrl(),
		Timestamp: stamps{Created: stamp.Of(k.GetCreatedMs())}, Links: selfLink{link{c.link("conversations", k.GetId())}},
	}
}

func (h *Handler) listConversations02(ctx context.Context, c *call) (any, error) {
	l, err := h.pageConversations(ctx, c)
	if err != nil {
		return nil, err
	}
	return pageOf02(l, conversationsOf02{each(l.Conversations, c.conversation02)}), nil
}

func (h *Handler) listUserConversations02(ctx context.Context, c *call) (any, error) {
	l, heads, err := h.pageUserConversations(ctx, c)
	if err != nil {
		return nil, err
	}
	items := make([]userConversation02, len(l.Conversations))
	for i, k := range l.Conversations {
		items[i] = userConversation02{
			conversation02: c.conversation02(k), SequenceNumber: heads[i].GetSequence(),
			MemberID: l.Memberships[i].GetMemberId(), State: memberStates[l.Memberships[i].GetState()],
		}
	}
	return pageOf02(l, userConversationsOf02{items}), nil
}

func (h *Handler) listUsers02(ctx context.Context, c *call) (any, error) {
	l, err := h.pageUsers(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Users, func(u *eventv1.User) user02 {
		return user02{u.GetId(), u.GetName(), selfLink{link{c.link("users", u.GetId())}}}
	})
	return pageOf02(l, usersOf02{items}), nil
}

func (h *Handler) listMembers02(ctx context.Context, c *call) (any, error) {
	l, err := h.pageMembers(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Members, func(m *eventv1.Member) member02 {
		u := m.GetUser()
		return member02{
			ID: m.GetId(), Name: u.GetName(), DisplayName: u.GetDisplayName(), UserID: u.GetUserId(), State: memberStates[m.GetState()],
			Links: selfLink{link{c.link("conversations", l.owner, "members", m.GetId())}},
		}
	})
	return pageOf02(l, membersOf02{items}), nil
}

func (h *Handler) listEvents02(ctx context.Context, c *call) (any, error) {
	l, err := h.pageEvents(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Events, func(v *nodev1.EventView) event { return c.event(l.owner, v) })
	return pageOf02(l, eventsOf{items}), nil
}
