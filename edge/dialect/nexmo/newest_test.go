package nexmo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parley/edge/dialect/nexmo"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestTheNewestReadsStrictly: a member of another type than the newest SDK expects costs it the event, and
// in a history the whole page. So what it is shown has nothing but what it reads, as it reads it.
func TestTheNewestReadsStrictly(t *testing.T) {
	for _, tc := range []struct{ name, eventType, body, want string }{
		{"a text", "message", `{"message_type":"text","text":"hi"}`, `{"message_type":"text","text":"hi"}`},
		{"what else is in a body", "message", `{"message_type":"text","text":"hi","timestamp":7,"a":[1]}`, `{"message_type":"text","text":"hi"}`},
		{"a picture", "message", `{"message_type":"image","image":{"url":"u","size":7}}`, `{"message_type":"image","image":{"url":"u"}}`},
		{"a file", "message", `{"message_type":"file","file":{"url":"u"}}`, `{"message_type":"file","file":{"url":"u"}}`},
		{"a free message", "message", `{"message_type":"custom","custom":{"a":[1,null]}}`, `{"message_type":"custom","custom":{"a":[1,null]}}`},
		{"a place in numbers", "message", `{"message_type":"location","location":{"latitude":51.5,"longitude":-0.1,"name":"Home","address":null}}`,
			`{"message_type":"location","location":{"longitude":"-0.1","latitude":"51.5","name":"Home"}}`},
		{"a place in texts", "message", `{"message_type":"location","location":{"latitude":"51.5","longitude":"-0.1"}}`,
			`{"message_type":"location","location":{"longitude":"-0.1","latitude":"51.5"}}`},
		{"a template as REST has it", "message", `{"message_type":"template","template":{"name":"t","parameters":["a",2],"whatsapp":{"policy":"deterministic","locale":"en"}}}`,
			`{"message_type":"template","template":{"name":"t","parameters":["a","2"]},"whatsapp":{"policy":"deterministic","locale":"en"}}`},
		{"a template as the SDK has it", "message", `{"message_type":"template","template":{"name":"t"},"whatsapp":{"policy":"deterministic","locale":"en"}}`,
			`{"message_type":"template","template":{"name":"t"},"whatsapp":{"policy":"deterministic","locale":"en"}}`},
		{"a template without a locale", "message", `{"message_type":"template","template":{"name":"t"}}`, ""},
		{"a template whose parameters are no texts", "message", `{"message_type":"template","template":{"name":"t","parameters":[{}],"whatsapp":{"policy":"p","locale":"en"}}}`, ""},
		{"a template with a list for a name", "message", `{"message_type":"template","template":{"name":["t"],"whatsapp":{"policy":"p","locale":"en"}}}`, ""},
		{"a template with a text for parameters", "message", `{"message_type":"template","template":{"name":"t","parameters":"p","whatsapp":{"policy":"p","locale":"en"}}}`, ""},
		{"a place with a list for a name", "message", `{"message_type":"location","location":{"latitude":"1","longitude":"2","name":["x"]}}`, ""},
		{"a picture at a list", "message", `{"message_type":"image","image":{"url":["u"]}}`, ""},
		{"a kind that it does not know", "message", `{"message_type":"random"}`, ""},
		{"a body of an import", "message", `{}`, ""},
		{"no body", "member:left", ``, `{}`},
		{"a receipt", "message:seen", `{"event_id":1}`, `{"event_id":1}`},
		{"an event without a name", "custom", `{"a":1}`, ""},
		{"an event with one", "custom:a", `{"a":1}`, `{"a":1}`},
		{"a text of before", "text", `{"text":"<hi>"}`, `{"message_type":"text","text":"<hi>"}`},
		{"a text of an import", "text", `{"text":7}`, ""},
		{"a picture of before", "image", `{"representations":{"original":{"url":"u"}}}`, `{"message_type":"image","image":{"url":"u"}}`},
		{"a member that is called", "member:invited", `{"channel":{"type":"phone","number":447700900000,"id":{}},"media":{"audio":true},"reason":{"code":5,"text":["x"]}}`,
			`{"channel":{"number":"447700900000","type":"phone"},"media":{"audio_settings":{"enabled":false}},"reason":{"code":"5"}}`},
		{"a member with what it made up", "member:joined", `{"channel":{"type":"app","leg_ids":7,"knocking_id":{},"from":"x","to":[]},"media":{"audio_settings":{"enabled":true,"muted":"x"}}}`,
			`{"channel":{"type":"app"},"media":{"audio_settings":{"enabled":false}}}`},
		{"a member that chats", "member:joined", `{"channel":{"type":"app"},"media":{"audio_settings":{"enabled":true,"muted":null}}}`,
			`{"channel":{"type":"app"},"media":{"audio_settings":{"enabled":true,"muted":null}}}`},
	} {
		shown, ok := nexmo.AsChat(view(3, tc.eventType, tc.body))
		if ok != (tc.want != "") || ok && !sameJSON(t, string(shown.Event.Body), tc.want) {
			t.Errorf("%s, in a history: %s, %v", tc.name, shown.GetEvent().GetBody(), ok)
		}
		told := strings.Join(texts(t, nexmo.Dialect{Generation: nexmo.SDK}.Events(nil, "CON-1", []*nodev1.EventView{view(3, tc.eventType, tc.body)})), "\n")
		if (told != "") != ok || ok && !strings.Contains(told, `"body":`+string(shown.Event.Body)) {
			t.Errorf("%s, told: %s", tc.name, told)
		}
	}
}

// TestTheNewestReadsWhatIsDeleted as a message whose text is gone, whatever it was.
func TestTheNewestReadsWhatIsDeleted(t *testing.T) {
	for _, eventType := range []string{"message", "text", "image"} {
		v := view(3, eventType, "")
		v.Event.DeletedMs = 1511302968123
		shown, ok := nexmo.AsChat(v)
		want := `{"message_type":"text","text":"","timestamp":{"deleted":"2017-11-21T22:22:48.123Z"}}`
		if d := cmp.Diff(want, string(shown.GetEvent().GetBody())); d != "" || !ok || shown.Event.Type != "message" {
			t.Errorf("%s, in a history: %s", eventType, d)
		}
		told := strings.Join(texts(t, nexmo.Dialect{Generation: nexmo.SDK}.Events(nil, "CON-1", []*nodev1.EventView{v})), "\n")
		if !strings.Contains(told, `"body":`+want) {
			t.Errorf("%s, told: %s", eventType, told)
		}
	}
	v := &nodev1.EventView{Event: &eventv1.Event{Type: "custom:a", DeletedMs: 1511302968123}}
	if shown, ok := nexmo.AsChat(v); !ok || shown.Event.Type != "custom:a" {
		t.Errorf("a free event: %v, %v", shown, ok)
	}
}

// sameJSON says whether two texts are the same value.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Errorf("%v in %s", err, a)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Errorf("%v in %s", err, b)
	}
	return cmp.Equal(x, y)
}
