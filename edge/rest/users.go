package rest

import (
	"context"
	"strings"

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
	if c.generation.strict && u.DisplayName != nil && *u.DisplayName == "" {
		in.fault("display_name", "is not allowed to be empty")
	}
	if p := in.object("properties"); p != nil {
		p.raw("custom_data")
		if c.generation.strict {
			p.closed()
		}
	}
	for _, name := range userToldOnly {
		in.get(name)
	}
	if c.generation.strict {
		in.closed()
	}
	return u, c.faults.err()
}

// userToldOnly are the members of a user that can not be given. They are ignored, as those of a conversation are.
var userToldOnly = []string{"id", "_links"}

// userID is the user of the path; "me" is the asker. One generation also takes its name.
func (h *Handler) userID(ctx context.Context, c *call) (string, error) {
	given := c.parameters["user"]
	if given == "me" && c.who.UserId != "" {
		return c.who.UserId, nil
	}
	if _, err := id.Parse(id.User, given); err == nil {
		return given, nil
	}
	if c.generation == v03 {
		u, err := h.Cluster.GetUser(ctx, c.who, api.UserRef{Name: given})
		return u.GetId(), err
	}
	return "", code.New(code.UserNotFound, "User does not exist.")
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
	usr, err := h.userID(ctx, c)
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
	usr, err := h.userID(ctx, c)
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
	usr, err := h.userID(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, h.Cluster.DeleteUser(ctx, c.who, usr)
}

func (h *Handler) listUsers(ctx context.Context, c *call) (any, error) {
	l, err := h.pageUsers(ctx, c)
	if err != nil {
		return nil, err
	}
	return page[usersOf]{l.size, usersOf{each(l.Users, c.user)}, l.links}, nil
}

// mayListOf lets administrators and the user itself pass: what a user takes part in is its own.
func (c *call) mayListOf(usr, what string) error {
	if c.mayReadPrivate(usr) {
		return nil
	}
	return code.New(code.Permission, "A user may list only its own %s.", what)
}

// readStates reads which memberships are wanted; nil = invited and joined ones.
func readStates(in *input) []eventv1.MemberState {
	var states []eventv1.MemberState
	for name := range strings.SplitSeq(value(in.anyText("state", shortTextMax)), ",") {
		switch strings.ToUpper(strings.TrimSpace(name)) {
		case "":
		case "INVITED":
			states = append(states, eventv1.MemberState_MEMBER_STATE_INVITED)
		case "JOINED":
			states = append(states, eventv1.MemberState_MEMBER_STATE_JOINED)
		case "LEFT":
			states = append(states, eventv1.MemberState_MEMBER_STATE_LEFT)
		default:
			in.fault("state", "must be one of [INVITED, JOINED, LEFT]")
			return nil
		}
	}
	return states
}

func (h *Handler) listUserConversations(ctx context.Context, c *call) (any, error) {
	l, heads, err := h.pageUserConversations(ctx, c)
	if err != nil {
		return nil, err
	}
	items := make([]conversation, len(l.Conversations))
	for i, k := range l.Conversations {
		items[i] = c.conversation(k, heads[i])
		items[i].Embedded = &membershipOf{ID: l.Memberships[i].GetMemberId(), State: memberStates[l.Memberships[i].GetState()]}
	}
	return page[conversationsOf]{l.size, conversationsOf{items}, l.links}, nil
}

// sessionSeconds is how long a lost connection may take to resume.
const sessionSeconds = 300
