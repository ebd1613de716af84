package push

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

func storyOf(t *testing.T, kind, body string) *story {
	t.Helper()
	s, err := newStory("app-1", &eventv1.Conversation{Id: "CON-1", Name: "tea", DisplayName: "Tea"},
		&eventv1.Event{Sequence: 7, Type: kind, FromMember: "MEM-1", FromUser: "USR-1", Body: []byte(body), TimestampMs: 1511302968123},
		person{"USR-1", "ann"})
	if err != nil {
		t.Fatal(err)
	}
	s.expires = time.UnixMilli(1511302968123).Add(time.Hour)
	return s
}

// The payload as the hosted API documented it, member by member.
const documented = `{"application_id":"app-1","conversation_id":"CON-1","event_type":"text","from":"MEM-1","id":7,"name":"ann","user_id":"USR-1",` +
	`"body":{"text":"hi \u003cb\u003e"},"timestamp":"2017-11-21T22:22:48.123Z","channels":{},` +
	`"push_info":{"conversation":{"name":"tea","display_name":"Tea"},"from_user":{"user_id":"USR-1","name":"ann","channels":{}},` +
	`"to_user":{"user_id":"USR-2","name":"bob","channels":{}},"priority":"immediate"},"_embedded":{"from_user":{"id":"USR-1","name":"ann"}}}`

// What the first Android SDK reads under "event".
const documentedEvent = `{"conversation_id":"CON-1","from":"MEM-1","id":7,"event_type":"text","body":{"text":"hi \u003cb\u003e"},"timestamp":"2017-11-21T22:22:48.123Z"}`

func TestPayloads(t *testing.T) {
	s := storyOf(t, "text", `{"text":"hi <b>"}`)
	for _, platform := range []eventv1.Platform{eventv1.Platform_PLATFORM_ANDROID, eventv1.Platform_PLATFORM_IOS, eventv1.Platform_PLATFORM_WEB} {
		n, err := s.notification(person{"USR-2", "bob"}, platform)
		if err != nil {
			t.Fatal(err)
		}
		event := ""
		if platform == eventv1.Platform_PLATFORM_ANDROID {
			event = documentedEvent
		}
		if string(n.Payload) != documented || string(n.Event) != event {
			t.Errorf("%s:\n%s\n%s", platform, n.Payload, n.Event)
		}
		if len(n.CollapseID) != 32 || strings.ContainsAny(n.CollapseID, "+/=") || !n.Immediate || !n.Expires.Equal(s.expires) {
			t.Errorf("%s: %+v", platform, n)
		}
	}
	one, _ := s.notification(person{"USR-2", "bob"}, eventv1.Platform_PLATFORM_IOS)
	other, _ := s.notification(person{"USR-3", "eve"}, eventv1.Platform_PLATFORM_IOS)
	again, _ := s.notification(person{"USR-2", "bob"}, eventv1.Platform_PLATFORM_WEB)
	if one.CollapseID == other.CollapseID || one.CollapseID != again.CollapseID {
		t.Error("the collapse id does not name event and user")
	}
}

func TestWhatIsTooLongIsCut(t *testing.T) {
	const euro, quote = "€", `\"`
	for what, c := range map[string]struct {
		body string
		text bool // some of it is left
	}{
		"a long text":          {`{"text":"` + strings.Repeat(euro, 5000) + `"}`, true},
		"a text that escapes":  {`{"text":"` + strings.Repeat(quote, 8000) + `"}`, false},
		"a long other member":  {`{"text":"hi","more":"` + strings.Repeat("x", 9000) + `"}`, false},
		"a long image":         {`{"representations":{"id":"` + strings.Repeat("x", 9000) + `"}}`, false},
		"just a little longer": {`{"text":"` + strings.Repeat("x", 3700) + `"}`, true},
	} {
		for _, platform := range []eventv1.Platform{eventv1.Platform_PLATFORM_ANDROID, eventv1.Platform_PLATFORM_IOS} {
			n, err := storyOf(t, "text", c.body).notification(person{"USR-2", "bob"}, platform)
			if err != nil {
				t.Fatal(err)
			}
			most := delivery.PayloadMax
			if platform == eventv1.Platform_PLATFORM_ANDROID {
				most = delivery.AndroidMax
			}
			if size := len(n.Payload) + len(n.Event); size > most {
				t.Errorf("%s for %s: %d bytes", what, platform, size)
			}
			var p struct {
				Body struct {
					Text      string `json:"text"`
					Truncated bool   `json:"truncated"`
				} `json:"body"`
			}
			if err := json.Unmarshal(n.Payload, &p); err != nil || !p.Body.Truncated || (len(p.Body.Text) > 500) != c.text || strings.ContainsRune(p.Body.Text, '\uFFFD') {
				t.Errorf("%s for %s: %v, truncated %v, %d bytes of text", what, platform, err, p.Body.Truncated, len(p.Body.Text))
			}
		}
	}
}

func TestABodyThatIsNoObjectIsNotTold(t *testing.T) {
	if _, err := newStory("a", &eventv1.Conversation{}, &eventv1.Event{Type: "text", Body: []byte(`7`)}, person{}); err == nil {
		t.Error("taken")
	}
}
