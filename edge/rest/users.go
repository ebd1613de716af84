package rest

import (
	"context"

	"golang.org/x/sync/errgroup"

	"parley/actors/api"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// userBody is what a user may be given.
type userBody struct {
	Name        string              `json:"name,omitempty" maxLength:"100" doc:"Unique in the application; generated if absent. Tokens name the user by it."`
	DisplayName string              `json:"display_name,omitempty" maxLength:"50"`
	ImageURL    string              `json:"image_url,omitempty" maxLength:"2048" format:"uri"`
	Properties  *userBodyProperties `json:"properties,omitempty"`
	Channels    object              `json:"channels,omitempty"`
}

type userBodyProperties struct {
	CustomData object `json:"custom_data,omitempty"`
}

func readUser(c *call) (*nodev1.UpdateUser, error) {
	in := c.body
	u := &nodev1.UpdateUser{
		Name: in.text("name", nameMax), DisplayName: in.anyText("display_name", displayNameMax), ImageUrl: in.uri("image_url", imageURLMax),
		Properties: in.raw("properties"), Channels: in.raw("channels"),
	}
	if c.generation == v1 && u.DisplayName != nil && *u.DisplayName == "" {
		in.fault("display_name", "is not allowed to be empty")
	}
	if p := in.object("properties"); p != nil {
		p.raw("custom_data")
		if c.generation == v1 {
			p.closed()
		}
	}
	if c.generation == v1 {
		in.closed()
	}
	return u, c.faults.err()
}

// userID is the user of the path; "me" is the asker.
func (c *call) userID() (string, error) {
	given := c.parameters["user"]
	if given == "me" && c.who.UserId != "" {
		return c.who.UserId, nil
	}
	if _, err := id.Parse(id.User, given); err != nil {
		return "", code.New(code.UserNotFound, "User does not exist.")
	}
	return given, nil
}

func (h *Handler) makeUser(ctx context.Context, c *call) (*eventv1.User, error) {
	u, err := readUser(c)
	if err != nil {
		return nil, err
	}
	return h.Cluster.CreateUser(ctx, c.who, c.key, &eventv1.User{
		Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageUrl: u.GetImageUrl(), Properties: u.Properties, Channels: u.Channels,
	})
}

func (h *Handler) changeUser(ctx context.Context, c *call) (*eventv1.User, error) {
	u, err := readUser(c)
	if err != nil {
		return nil, err
	}
	usr, err := c.userID()
	if err != nil {
		return nil, err
	}
	return h.Cluster.UpdateUser(ctx, c.who, usr, u)
}

func (h *Handler) createUser(ctx context.Context, c *call) (any, error) {
	u, err := h.makeUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.user(u), nil
}

func (h *Handler) findUser(ctx context.Context, c *call) (*eventv1.User, error) {
	usr, err := c.userID()
	if err != nil {
		return nil, err
	}
	return h.Cluster.GetUser(ctx, c.who, api.UserRef{ID: usr})
}

func (h *Handler) getUser(ctx context.Context, c *call) (any, error) {
	u, err := h.findUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.user(u), nil
}

func (h *Handler) updateUser(ctx context.Context, c *call) (any, error) {
	u, err := h.changeUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.user(u), nil
}

func (h *Handler) deleteUser(ctx context.Context, c *call) (any, error) {
	usr, err := c.userID()
	if err != nil {
		return nil, err
	}
	return nil, h.Cluster.DeleteUser(ctx, c.who, usr)
}

func (h *Handler) listUsers(ctx context.Context, c *call) (any, error) {
	p, name := c.paging(), value(c.query.anyText("name", nameMax))
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	r, err := h.Cluster.ListUsers(ctx, c.who, p.request(), name)
	if err != nil {
		return nil, err
	}
	links := p.settle(c, r)
	return page[usersOf]{p.size, usersOf{each(r.Users, c.user)}, links}, nil
}

// mayListOf lets administrators and the user itself pass: what a user takes part in is its own.
func (c *call) mayListOf(usr, what string) error {
	if c.mayReadPrivate(usr) {
		return nil
	}
	return code.New(code.Permission, "A user may list only its own %s.", what)
}

// parallelReads is how many reads of one request run at once.
const parallelReads = 8

// heads finds the sequence numbers of a user's conversations. A conversation that was deleted
// meanwhile keeps a nil head.
func (h *Handler) heads(ctx context.Context, c *call, list []*eventv1.Conversation) ([]*eventv1.Head, error) {
	asker := &nodev1.Principal{ApplicationId: c.who.ApplicationId, Admin: true} // the listing was allowed
	heads := make([]*eventv1.Head, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	for i, k := range list {
		g.Go(func() error {
			r, err := h.Cluster.GetConversation(ctx, asker, k.GetId(), false)
			if code.Has(err, code.ConversationNotFound) {
				return nil
			}
			heads[i] = orZero(r.GetHead())
			return err
		})
	}
	return heads, g.Wait()
}

func readStates(in *input) []eventv1.MemberState {
	switch in.choice("state", "INVITED", "JOINED", "LEFT") {
	case "INVITED":
		return []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_INVITED}
	case "JOINED":
		return []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_JOINED}
	case "LEFT":
		return []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_LEFT}
	}
	return nil
}

func (h *Handler) listUserConversations(ctx context.Context, c *call) (any, error) {
	p, states := c.paging(), readStates(c.query)
	usr, err := c.userID()
	if err == nil {
		err = c.faults.err()
	}
	if err == nil {
		err = c.mayListOf(usr, "conversations")
	}
	if err != nil {
		return nil, err
	}
	if _, err = h.Cluster.GetUser(ctx, c.who, api.UserRef{ID: usr}); err != nil {
		return nil, err
	}
	r, err := h.Cluster.ListMemberships(ctx, c.who, usr, p.request(), states)
	if err != nil {
		return nil, err
	}
	links := p.settle(c, r)
	heads, err := h.heads(ctx, c, r.Conversations)
	if err != nil {
		return nil, err
	}
	items := make([]conversation, len(r.Conversations))
	for i, k := range r.Conversations {
		items[i] = c.conversation(k, heads[i])
		items[i].Embedded = &membershipOf{ID: r.Memberships[i].GetMemberId(), State: memberStates[r.Memberships[i].GetState()]}
	}
	return page[conversationsOf]{p.size, conversationsOf{items}, links}, nil
}

// sessionSeconds is how long a lost connection may take to resume.
const sessionSeconds = 300

func (h *Handler) listSessions(ctx context.Context, c *call) (any, error) {
	p := c.paging()
	usr, err := c.userID()
	if err == nil {
		err = c.faults.err()
	}
	if err == nil {
		err = c.mayListOf(usr, "sessions")
	}
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
	r := sessionsPage(live, p)
	links := p.settle(c, r)
	owner := c.memberUser(&eventv1.Author{UserId: u.Id, Name: u.Name, DisplayName: u.DisplayName, ImageUrl: u.ImageUrl})
	items := each(r.Positions, func(id []byte) session {
		return session{
			ID: string(id), Embedded: sessionEmbedded{User: owner}, Properties: sessionProperties{TTL: sessionSeconds},
			Links: selfLink{link{c.href(prefixV1, "users", usr, "sessions")}},
		}
	})
	return page[sessionsOf]{p.size, sessionsOf{items}, links}, nil
}
