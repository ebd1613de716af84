package socketio

import (
	"encoding/json"
	"strconv"

	"parley/edge/dialect"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// The bodies of answers, as the SDKs of 2017 to 2019 read them.

type times struct {
	Created string `json:"created,omitempty"`
	Invited string `json:"invited,omitempty"`
	Joined  string `json:"joined,omitempty"`
	Left    string `json:"left,omitempty"`
}

type conversationItem struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	MemberID    string `json:"member_id"`
	State       string `json:"state"`
	Sequence    uint64 `json:"sequence_number"`
	Timestamp   times  `json:"timestamp"`
}

func itemOf(k *eventv1.Conversation, m *eventv1.Membership, head *eventv1.Head) conversationItem {
	return conversationItem{
		ID: k.GetId(), Name: k.GetName(), DisplayName: k.GetDisplayName(), MemberID: m.GetMemberId(),
		State: dialect.State(m.GetState()), Sequence: head.GetSequence(), Timestamp: times{Created: stamp.Of(k.GetCreatedMs())},
	}
}

type user struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	ImageURL    string          `json:"image_url,omitempty"`
	Channels    json.RawMessage `json:"channels"`
}

// userOf tells a user; the channels only to the user itself.
func userOf(u *eventv1.User, self bool) user {
	out := user{ID: u.GetId(), Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageURL: u.GetImageUrl(), Channels: json.RawMessage("{}")}
	if self && len(u.GetChannels()) > 0 {
		out.Channels = u.GetChannels()
	}
	return out
}

type created struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Timestamp   times  `json:"timestamp"`
}

func createdOf(k *eventv1.Conversation) created {
	return created{k.GetId(), k.GetName(), k.GetDisplayName(), times{Created: stamp.Of(k.GetCreatedMs())}}
}

type conversation struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	ImageURL    string          `json:"image_url,omitempty"`
	Timestamp   times           `json:"timestamp"`
	Sequence    uint64          `json:"sequence_number"`
	Numbers     json.RawMessage `json:"numbers"`
	Properties  properties      `json:"properties"`
	Members     []listedMember  `json:"members"`
}

type properties struct {
	CustomData json.RawMessage `json:"custom_data,omitempty"`
}

// listedMember is a member in the list of its conversation; name is the user's.
type listedMember struct {
	MemberID  string          `json:"member_id"`
	UserID    string          `json:"user_id"`
	Name      string          `json:"name"`
	State     string          `json:"state"`
	Timestamp times           `json:"timestamp"`
	InvitedBy string          `json:"invited_by,omitempty"`
	Channel   json.RawMessage `json:"channel,omitempty"`
	Media     json.RawMessage `json:"media,omitempty"`
}

func conversationOf(r *nodev1.Reply) conversation {
	k := r.GetConversation()
	out := conversation{
		ID: k.GetId(), Name: k.GetName(), DisplayName: k.GetDisplayName(), ImageURL: k.GetImageUrl(),
		Timestamp: times{Created: stamp.Of(k.GetCreatedMs())}, Sequence: r.GetHead().GetSequence(), Numbers: json.RawMessage("{}"),
		Properties: properties{k.GetProperties().GetCustomData()}, Members: make([]listedMember, 0, len(r.GetMembers())),
	}
	if len(k.GetNumbers()) > 0 {
		out.Numbers = k.GetNumbers()
	}
	for _, m := range r.GetMembers() {
		out.Members = append(out.Members, listedMember{
			MemberID: m.GetId(), UserID: m.GetUser().GetUserId(), Name: m.GetUser().GetName(), State: dialect.State(m.GetState()),
			Timestamp: timesOf(m), InvitedBy: m.GetInvitedBy(), Channel: m.GetChannel(), Media: m.GetMedia(),
		})
	}
	return out
}

// member is the answer to a join, an invitation or a departure. It carries its id under both
// names that SDKs have read.
type member struct {
	ID        string          `json:"id"`
	MemberID  string          `json:"member_id"`
	UserID    string          `json:"user_id"`
	Name      string          `json:"name"`
	State     string          `json:"state"`
	Timestamp times           `json:"timestamp"`
	Channel   json.RawMessage `json:"channel,omitempty"`
}

func memberOf(m *eventv1.Member) member {
	return member{
		ID: m.GetId(), MemberID: m.GetId(), UserID: m.GetUser().GetUserId(), Name: m.GetUser().GetName(),
		State: dialect.State(m.GetState()), Timestamp: timesOf(m), Channel: m.GetChannel(),
	}
}

func timesOf(m *eventv1.Member) times {
	return times{Invited: stamp.Of(m.GetInvitedMs()), Joined: stamp.Of(m.GetJoinedMs()), Left: stamp.Of(m.GetLeftMs())}
}

// postedOf is the answer to an event; what is not stored has no id.
func postedOf(r *nodev1.Reply) json.RawMessage {
	sequence, at := uint64(0), r.GetTimestampMs()
	if e := r.GetEvent().GetEvent(); e != nil {
		sequence, at = e.GetSequence(), e.GetTimestampMs()
	}
	body := make([]byte, 0, 64)
	body = append(body, '{')
	if sequence != 0 {
		body = append(strconv.AppendUint(append(body, `"id":`...), sequence, 10), ',')
	}
	body = append(append(body, `"timestamp":"`...), stamp.Of(at)...)
	return append(body, `"}`...)
}
