package conversation

import (
	"bytes"
	"encoding/json"

	"parley/internal/invariant"
	eventv1 "parley/proto/event/v1"
	"parley/proto/stamp"
)

// The bodies of member events are a superset of what the client generations read; what one of
// them must not see, its dialect drops when it renders (for some a key too many is fatal).

type memberBody struct {
	Cname        string           `json:"cname"`
	Conversation conversationBody `json:"conversation"`
	User         userBody         `json:"user"`
	MemberID     string           `json:"member_id"`
	InvitedBy    *string          `json:"invited_by,omitempty"`
	Timestamp    timesBody        `json:"timestamp"`
	Channel      json.RawMessage  `json:"channel"`
	Media        json.RawMessage  `json:"media"`
	KnockingID   string           `json:"knocking_id,omitempty"`
	Initiator    initiatorsBody   `json:"initiator"`
	Reason       json.RawMessage  `json:"reason,omitempty"`
}

type conversationBody struct {
	ID          string `json:"conversation_id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
}

type userBody struct {
	ID          string          `json:"id"`
	UserID      string          `json:"user_id"`
	MemberID    string          `json:"member_id"`
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	Media       json.RawMessage `json:"media"`
}

type timesBody struct {
	Invited string `json:"invited,omitempty"`
	Joined  string `json:"joined,omitempty"`
	Left    string `json:"left,omitempty"`
}

type initiatorsBody struct {
	Invited *initiatorBody `json:"invited,omitempty"`
	Joined  *initiatorBody `json:"joined,omitempty"`
	Left    *initiatorBody `json:"left,omitempty"`
}

type initiatorBody struct {
	System      bool   `json:"is_system,omitempty"`
	SystemCamel bool   `json:"isSystem,omitempty"` // generations before v1
	UserID      string `json:"user_id,omitempty"`
	MemberID    string `json:"member_id,omitempty"`
}

// silent is the media of a member that named none.
const silent = `{"audio":false,"audio_settings":{"enabled":false,"earmuffed":false,"muted":false}}`

// enteredBody is the body of member:invited and member:joined.
func enteredBody(c *eventv1.Conversation, m *eventv1.Member) []byte {
	return encode(bodyOf(c, m))
}

func leftBody(c *eventv1.Conversation, m *eventv1.Member, by *eventv1.Initiator) []byte {
	b := bodyOf(c, m)
	b.Initiator.Left = initiatorOf(by)
	b.Reason = m.Reason
	return encode(b)
}

func bodyOf(c *eventv1.Conversation, m *eventv1.Member) memberBody {
	b := memberBody{
		Cname:        c.Name,
		Conversation: conversationBody{ID: c.Id, Name: c.Name, DisplayName: c.DisplayName},
		User: userBody{
			ID: m.User.UserId, UserID: m.User.UserId, MemberID: m.Id,
			Name: m.User.Name, DisplayName: m.User.DisplayName, Media: objectOr(m.Media, `{}`),
		},
		MemberID:   m.Id,
		Timestamp:  timesBody{Invited: stamp.Of(m.InvitedMs), Joined: stamp.Of(m.JoinedMs), Left: stamp.Of(m.LeftMs)},
		Channel:    objectOr(m.Channel, AppChannel),
		Media:      objectOr(m.Media, silent),
		KnockingID: m.KnockingId,
		Initiator:  initiatorsBody{Invited: initiatorOf(m.InitiatorInvited), Joined: initiatorOf(m.InitiatorJoined)},
	}
	if m.InvitedBy != "" {
		b.InvitedBy = &m.InvitedBy
	}
	return b
}

func initiatorOf(i *eventv1.Initiator) *initiatorBody {
	if i == nil {
		return nil
	}
	return &initiatorBody{System: i.IsSystem, SystemCamel: i.IsSystem, UserID: i.UserId, MemberID: i.MemberId}
}

func objectOr(b []byte, other string) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage(other)
	}
	return b
}

// encode is the JSON of a body, whose parts were checked before, so that it cannot fail. What clients wrote into it
// stays as it is: json.Marshal would make six characters of each "<", beyond what a body may have.
func encode(b any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(b)
	invariant.That(err == nil, "member body: %v", err)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
