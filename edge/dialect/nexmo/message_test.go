package nexmo

import (
	"testing"

	eventv1 "parley/proto/event/v1"
)

// TestMessagesForWhoKnowsTexts: what the newest SDK sends is shown to each generation as something that it
// knows, and a message that is deleted later as what it was.
func TestMessagesForWhoKnowsTexts(t *testing.T) {
	for _, tc := range []struct {
		eventType, body string
		deleted         int64
		old, newer      string
	}{
		{"message", `{"message_type":"text","text":"hi"}`, 0, "text", "message"},
		{"message", `{"message_type":"image","image":{"url":"u"}}`, 0, "message", "message"},
		{"message", "", 1, "text", "message"},
		{"message:seen", `{"event_id":1}`, 0, "text:seen", "message:seen"},
		{"message:delivered", `{"event_id":1}`, 0, "text:delivered", "message:delivered"},
		{"message:submitted", `{}`, 0, "message:submitted", "message:submitted"},
		{"text:seen", `{"event_id":1}`, 0, "text:seen", "text:seen"},
	} {
		e := &eventv1.Event{Type: tc.eventType, Body: []byte(tc.body), DeletedMs: tc.deleted}
		for g, want := range map[Generation]string{Conversation: tc.old, Stitch: tc.old, Client: tc.newer} {
			if got, _, ok := g.read(e); !ok || got != want {
				t.Errorf("%s, deleted %d, for %s: %s, want %s", tc.eventType, tc.deleted, g, got, want)
			}
		}
	}
}
