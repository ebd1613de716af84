package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// payload is an event as a webhook is told of it: the members of the old API's webhooks, and who
// sent it in the form of its REST events.
type payload struct {
	ApplicationID  string          `json:"application_id"`
	ConversationID string          `json:"conversation_id"`
	ID             uint64          `json:"id"`
	Type           string          `json:"type"`
	From           string          `json:"from,omitempty"`
	To             string          `json:"to,omitempty"`
	Body           json.RawMessage `json:"body"`
	Timestamp      string          `json:"timestamp"`
	Embedded       *embedded       `json:"_embedded,omitempty"`
}

type embedded struct {
	FromUser   *fromUser   `json:"from_user,omitempty"`
	FromMember *fromMember `json:"from_member,omitempty"`
}

type fromUser struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	ImageURL    string          `json:"image_url,omitempty"`
	CustomData  json.RawMessage `json:"custom_data,omitempty"`
}

type fromMember struct {
	ID string `json:"id"`
}

// payloadOf renders an event of a conversation.
func payloadOf(application, conversation string, v *nodev1.EventView) payload {
	e := v.GetEvent()
	p := payload{
		ApplicationID: application, ConversationID: conversation, ID: e.GetSequence(), Type: e.GetType(),
		From: e.GetFromMember(), To: e.GetTo(), Body: e.GetBody(), Timestamp: stamp.Of(e.GetTimestampMs()),
	}
	if e.GetDeletedMs() != 0 { // of a deleted event only the time of its deletion is left
		p.Body = json.RawMessage(`{"timestamp":{"deleted":"` + stamp.Of(e.GetDeletedMs()) + `"}}`)
	}
	if len(p.Body) == 0 {
		p.Body = json.RawMessage("{}")
	}
	if p.From == "" {
		return p
	}
	p.Embedded = &embedded{FromMember: &fromMember{p.From}}
	if a := v.GetAuthor(); a.GetUserId() != "" {
		p.Embedded.FromUser = &fromUser{a.UserId, a.Name, a.DisplayName, a.ImageUrl, a.CustomData}
	}
	return p
}

// json renders the payload. Its texts are not escaped for HTML, so the body stays as it was sent.
func (p payload) json() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return nil, fmt.Errorf("render event %d: %w", p.ID, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// queryBodyMax bounds the body of an event in a query: servers refuse long ones.
const queryBodyMax = 4 << 10

// query adds the payload to what the URL of a GET has already. A body that is too long for a query
// is left out.
func (p payload) query(u *url.URL) string {
	q := u.Query()
	for name, value := range map[string]string{
		"application_id": p.ApplicationID, "conversation_id": p.ConversationID, "id": strconv.FormatUint(p.ID, 10),
		"type": p.Type, "from": p.From, "to": p.To, "timestamp": p.Timestamp,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(p.Body) <= queryBodyMax {
		q.Set("body", string(p.Body))
	}
	return q.Encode()
}
