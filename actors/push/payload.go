package push

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
	"parley/proto/stamp"
)

// Types of events that are brought to devices.
const (
	typeText    = "text"
	typeImage   = "image"
	typeMessage = "message" // what newer clients send instead of the two
	typeInvited = "member:invited"
)

// story is one event as it is told to devices: everything but whom it is told to.
type story struct {
	application  string
	conversation *eventv1.Conversation
	event        *eventv1.Event
	from         person // who wrote it, or who invited
	body         map[string]json.RawMessage
	expires      time.Time
}

// person is a user as payloads name it.
type person struct{ id, name string }

// The payload of the hosted API, which its mobile SDKs read. Both forms have an event's id as a
// number, as its sockets have it.
type (
	payload struct {
		Application  string                     `json:"application_id"`
		Conversation string                     `json:"conversation_id"`
		EventType    string                     `json:"event_type"`
		From         string                     `json:"from"`
		ID           uint64                     `json:"id"`
		Name         string                     `json:"name"`
		UserID       string                     `json:"user_id"`
		Body         map[string]json.RawMessage `json:"body"`
		Timestamp    string                     `json:"timestamp"`
		Channels     struct{}                   `json:"channels"`
		PushInfo     pushInfo                   `json:"push_info"`
		Embedded     embedded                   `json:"_embedded"`
	}
	pushInfo struct {
		Conversation conversationNames `json:"conversation"`
		FromUser     userRef           `json:"from_user"`
		ToUser       userRef           `json:"to_user"`
		Priority     string            `json:"priority"`
	}
	conversationNames struct {
		Name        string `json:"name"`
		DisplayName string `json:"display_name"`
	}
	userRef struct {
		UserID   string   `json:"user_id"`
		Name     string   `json:"name"`
		Channels struct{} `json:"channels"`
	}
	embedded struct {
		FromUser named `json:"from_user"`
	}
	named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	// shortPayload is what the first Android SDK reads, as the value of "event".
	shortPayload struct {
		Conversation string                     `json:"conversation_id"`
		From         string                     `json:"from"`
		ID           uint64                     `json:"id"`
		EventType    string                     `json:"event_type"`
		Body         map[string]json.RawMessage `json:"body"`
		Timestamp    string                     `json:"timestamp"`
	}
)

// newStory reads an event. The body of an invitation is stored for all client generations; a device
// gets the part that mobile clients read.
func newStory(application string, c *eventv1.Conversation, e *eventv1.Event, from person) (*story, error) {
	s := &story{application: application, conversation: c, event: e, from: from}
	if err := json.Unmarshal(e.Body, &s.body); err != nil {
		return nil, fmt.Errorf("read the body of event %d: %w", e.Sequence, err)
	}
	if e.Type != typeInvited {
		return s, nil
	}
	whole := s.body
	s.body = map[string]json.RawMessage{"invited_by": json.RawMessage(`""`)} // an administrator has no name, but the member is read
	for _, name := range []string{"cname", "invited_by", "user", "timestamp"} {
		if part := whole[name]; len(part) > 0 {
			s.body[name] = part
		}
	}
	return s, nil
}

// notification renders the story for one user's device.
func (s *story) notification(to person, platform eventv1.Platform) (*delivery.Notification, error) {
	n := &delivery.Notification{Immediate: true, CollapseID: s.collapseID(to.id), Expires: s.expires}
	most := delivery.PayloadMax
	if platform == eventv1.Platform_PLATFORM_ANDROID {
		var err error
		if n.Event, err = s.fit(delivery.AndroidMax/3, s.short); err != nil {
			return nil, err
		}
		most = delivery.AndroidMax - len(n.Event)
	}
	var err error
	n.Payload, err = s.fit(most, func(body map[string]json.RawMessage) any { return s.full(to, body) })
	return n, err
}

func (s *story) full(to person, body map[string]json.RawMessage) any {
	p := payload{
		Application: s.application, Conversation: s.conversation.Id, EventType: s.event.Type, From: s.event.FromMember,
		ID: s.event.Sequence, Name: s.from.name, UserID: s.from.id, Body: body, Timestamp: stamp.Of(s.event.TimestampMs),
	}
	p.PushInfo.Conversation = conversationNames{s.conversation.Name, s.conversation.DisplayName}
	p.PushInfo.FromUser = userRef{UserID: s.from.id, Name: s.from.name}
	p.PushInfo.ToUser = userRef{UserID: to.id, Name: to.name}
	p.PushInfo.Priority = "immediate"
	p.Embedded.FromUser = named{s.from.id, s.from.name}
	return p
}

func (s *story) short(body map[string]json.RawMessage) any {
	return shortPayload{s.conversation.Id, s.event.FromMember, s.event.Sequence, s.event.Type, body, stamp.Of(s.event.TimestampMs)}
}

// fit renders the story within a number of bytes: with its body, else with a text that is cut, else
// with an empty body. What is cut says "truncated", so that the client reads the event itself.
func (s *story) fit(most int, render func(body map[string]json.RawMessage) any) ([]byte, error) {
	out, err := json.Marshal(render(s.body))
	if err != nil || len(out) <= most {
		return out, err
	}
	for _, body := range []map[string]json.RawMessage{cut(s.body, len(out)-most), {"truncated": json.RawMessage("true")}} {
		if body == nil {
			continue
		}
		if out, err = json.Marshal(render(body)); err != nil || len(out) <= most {
			return out, err
		}
	}
	return nil, fmt.Errorf("event %d does not fit into %d bytes even without its body", s.event.Sequence, most)
}

// cut shortens the text of a body by at least some bytes; nil when there is none to shorten.
func cut(body map[string]json.RawMessage, bytes int) map[string]json.RawMessage {
	var text string
	if json.Unmarshal(body["text"], &text) != nil {
		return nil
	}
	const mark = len(`,"truncated":true`)
	keep := max(0, len(text)-bytes-mark)
	for keep > 0 && !utf8.RuneStart(text[keep]) {
		keep--
	}
	shorter, err := json.Marshal(text[:keep])
	if err != nil {
		return nil
	}
	out := map[string]json.RawMessage{"truncated": json.RawMessage("true")}
	for name, part := range body {
		out[name] = part
	}
	out["text"] = shorter
	return out
}

// collapseID names the event towards one user, without telling which it is.
func (s *story) collapseID(user string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", s.conversation.Id, s.event.Sequence, user))
	const longest = 32
	return base64.RawURLEncoding.EncodeToString(sum[:])[:longest]
}
