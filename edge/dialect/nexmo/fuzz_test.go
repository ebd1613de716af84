package nexmo

import (
	"encoding/json"
	"testing"

	"parley/actors/conversation/document"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// FuzzRender: whatever object an event's body is, each generation is told valid JSON, whose body is
// an object, or nothing.
func FuzzRender(f *testing.F) {
	for _, seed := range [][2]string{
		{"text", `{"text":"x\u2028"}`}, {"message", `{"message_type":"text","text":1}`}, {"message", `{"message_type":"text","text":"a"}`}, {"text", `{"text":1e999}`},
		{"image", `{"representations":{"original":{"url":"http://x/\""}}}`}, {"image", `{"representations":[]}`},
		{"member:invited", `{"conversation":{},"user":{}}`}, {"custom:a\"b", `{}`}, {"text:seen", `{"event_id":1}`}, {"text:seen", ``}, {"event:delete", ``},
	} {
		f.Add(seed[0], []byte(seed[1]), uint64(7))
	}
	f.Fuzz(func(t *testing.T, eventType string, body []byte, sequence uint64) {
		if len(body) > 0 && document.Check(body, 1<<20) != nil {
			return // never stored
		}
		v := &nodev1.EventView{
			Event:    &eventv1.Event{Sequence: sequence, Type: eventType, Body: body, FromMember: "MEM-1", TimestampMs: 1},
			Author:   &eventv1.Author{UserId: "USR-1", Name: eventType},
			Receipts: []*eventv1.Receipt{{MemberId: eventType, DeliveredMs: 1}, {MemberId: "MEM-2", SeenMs: 2}},
		}
		for g := Conversation; g <= SDK; g++ {
			if out, ok := g.AppendHistory(nil, v); ok {
				checkTold(t, g, "history", out)
			}
			if out, ok := g.AppendPending(nil, "CON-1", v); ok {
				checkTold(t, g, "pending", out)
			}
			if _, told, ok := g.read(v.Event); ok {
				checkTold(t, g, "pushed", g.appendPushed(nil, "CON-1", v, told))
			}
		}
	})
}

func checkTold(t *testing.T, g Generation, form string, out []byte) {
	t.Helper()
	var told struct {
		Body map[string]json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(out, &told); err != nil || told.Body == nil {
		t.Errorf("%s, %s: %v in %s", g, form, err, out)
	}
}
