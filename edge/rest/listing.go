package rest

import (
	"context"

	"parley/actors/api"
	"parley/edge/dialect/nexmo"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// listing is one page as the cluster gave it, before a generation renders it.
type listing struct {
	*nodev1.Reply
	owner string // the conversation or user whose list it is; empty for the application's
	paging
	links pageLinks
}

// settled makes a listing of a reply to p.
func (c *call) settled(p paging, r *nodev1.Reply, owner string) listing {
	return listing{Reply: r, owner: owner, paging: p, links: p.settle(c, r)}
}

func (h *Handler) pageConversations(ctx context.Context, c *call) (l listing, err error) {
	p, from, to := c.paging(), c.query.moment("date_start"), c.query.moment("date_end")
	c.query.flag("include_custom_data") // custom data is always told
	if err := c.faults.err(); err != nil {
		return l, err
	}
	r, err := h.Cluster.ListConversations(ctx, c.who, p.request(), from, to)
	if err != nil {
		return l, err
	}
	return c.settled(p, r, ""), nil
}

// pageMembers gives those who are invited or joined.
func (h *Handler) pageMembers(ctx context.Context, c *call) (l listing, err error) {
	p := c.paging()
	if err := c.faults.err(); err != nil {
		return l, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return l, err
	}
	r, err := h.Cluster.ListMembers(ctx, c.who, conv, p.request(), true)
	if err != nil {
		return l, err
	}
	return c.settled(p, r, conv), nil
}

func (h *Handler) pageEvents(ctx context.Context, c *call) (l listing, err error) {
	p, wanted := c.paging(), h.readRange(c.query)
	if err := c.faults.err(); err != nil {
		return l, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return l, err
	}
	wanted.Page = p.request()
	r, err := h.Cluster.ListEvents(ctx, c.who, conv, wanted)
	if err != nil {
		return l, err
	}
	if c.query.choice("filter_group_type", "ChatEvents") != "" {
		asChat(r)
	}
	return c.settled(p, r, conv), nil
}

// asChat shows the events of a page as the clients know them that ask for chat events. What they can not read
// is left out; its place in the list stays, so that a page without anything to show has neighbours.
func asChat(r *nodev1.Reply) {
	events := r.Events
	r.Events = nil
	for _, v := range events {
		if shown, ok := nexmo.AsChat(v); ok {
			r.Events = append(r.Events, shown)
		}
	}
}

func (h *Handler) pageUsers(ctx context.Context, c *call) (l listing, err error) {
	p, name := c.paging(), value(c.query.anyText("name", nameMax))
	if err := c.faults.err(); err != nil {
		return l, err
	}
	r, err := h.Cluster.ListUsers(ctx, c.who, p.request(), name)
	if err != nil {
		return l, err
	}
	return c.settled(p, r, ""), nil
}

// pageUserConversations gives a user's conversations, and the head of each beside it: those it is
// invited to or has joined, unless other states are asked for.
func (h *Handler) pageUserConversations(ctx context.Context, c *call) (l listing, heads []*eventv1.Head, err error) {
	p, states := c.paging(), readStates(c.query)
	for _, known := range []string{"include_custom_data", "order_by"} {
		c.query.get(known) // custom data is always told, and the order is always that of creation
	}
	if err = c.faults.err(); err != nil {
		return l, nil, err
	}
	usr, err := h.ownList(ctx, c, "conversations")
	if err != nil {
		return l, nil, err
	}
	r, err := h.Cluster.ListMemberships(ctx, c.who, usr, p.request(), states)
	if err != nil {
		return l, nil, err
	}
	return c.settled(p, r, usr), r.Heads, nil
}

// ownList gives the user of the path if it exists and the asker may list what it has.
func (h *Handler) ownList(ctx context.Context, c *call, what string) (string, error) {
	usr, err := h.userID(ctx, c)
	if err == nil {
		err = c.mayListOf(usr, what)
	}
	if err == nil {
		_, err = h.Cluster.GetUser(ctx, c.who, api.UserRef{ID: usr})
	}
	return usr, err
}

// pageSessions gives a user's live sessions; they are the positions of the reply.
func (h *Handler) pageSessions(ctx context.Context, c *call) (any, error) {
	p := c.paging()
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	usr, err := h.ownList(ctx, c, "sessions")
	if err != nil {
		return nil, err
	}
	u, err := h.Cluster.GetUser(ctx, c.who, api.UserRef{ID: usr})
	if err != nil {
		return nil, err
	}
	live, err := h.Sessions.Sessions(ctx, c.who.ApplicationId, usr)
	if err != nil {
		return nil, err
	}
	l := c.settled(p, sessionsPage(live, p), usr)
	owner := c.memberUser(&eventv1.Author{UserId: u.Id, Name: u.Name, DisplayName: u.DisplayName, ImageUrl: u.ImageUrl})
	items := each(l.Positions, func(id []byte) session {
		return session{
			ID: string(id), Embedded: sessionEmbedded{User: owner, APIKey: c.who.ApplicationId}, Properties: sessionProperties{TTL: sessionSeconds},
			Links: selfLink{link{c.link("users", usr, "sessions")}},
		}
	})
	return page[sessionsOf]{l.size, sessionsOf{items}, l.links}, nil
}
