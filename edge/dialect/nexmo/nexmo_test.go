package nexmo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parley/edge/dialect"
	"parley/edge/dialect/nexmo"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

var ann = &eventv1.Author{UserId: "USR-a", Name: `ann "a"`, DisplayName: "Ann é", CustomData: []byte(`{"x":1}`)}

// view is an event of ann's.
func view(sequence uint64, eventType, body string) *nodev1.EventView {
	return &nodev1.EventView{Author: ann, Event: &eventv1.Event{
		Sequence: sequence, Type: eventType, FromMember: "MEM-a", FromUser: "USR-a", Body: []byte(body), TimestampMs: 1511302968123,
	}}
}

// texts are the payloads of the frames in b, which are shorter than 64 KiB.
func texts(t *testing.T, b []byte) []string {
	t.Helper()
	var list []string
	for len(b) > 0 {
		n, header := int(b[1]), 2
		if n == 126 {
			n, header = int(b[2])<<8|int(b[3]), 4
		}
		if b[0] != 0x81 || len(b) < header+n {
			t.Fatalf("no text frame: %q", b)
		}
		list = append(list, string(b[header:header+n]))
		b = b[header+n:]
	}
	return list
}

func TestEvents(t *testing.T) {
	const con = "CON-1"
	invited := `{"cname":"tea","conversation":{"conversation_id":"CON-1"},"user":{"name":"bob"}}`
	for _, tc := range []struct {
		name    string
		dialect nexmo.Dialect
		view    *nodev1.EventView
		want    string // empty = nothing
	}{
		{"a text, old", nexmo.Dialect{Generation: nexmo.Stitch}, view(7, "text", `{"text":"hi"}`),
			`42["text",{"cid":"CON-1","id":7,"from":"MEM-a","to":null,"timestamp":"2017-11-21T22:22:48.123Z","body":{"text":"hi"}}]`},
		{"a text, newer", nexmo.Dialect{Generation: nexmo.Client}, view(7, "text", `{"text":"hi"}`),
			`42["text",{"cid":"CON-1","id":7,"from":"MEM-a","timestamp":"2017-11-21T22:22:48.123Z","body":{"text":"hi"},` +
				`"_embedded":{"from_user":{"id":"USR-a","name":"ann \"a\"","display_name":"Ann é","custom_data":{"x":1}},"from_member":{"id":"MEM-a"}}}]`},
		{"an invitation, oldest", nexmo.Dialect{Generation: nexmo.Conversation}, view(1, "member:invited", invited),
			`42["member:invited",{"cid":"CON-1","id":1,"from":"MEM-a","to":null,"timestamp":"2017-11-21T22:22:48.123Z","body":{"cname":"tea","user":{"name":"bob"}}}]`},
		{"a message of the newest, old", nexmo.Dialect{Generation: nexmo.Stitch}, view(2, "message", `{"message_type":"text","text":"<x>"}`),
			`42["text",{"cid":"CON-1","id":2,"from":"MEM-a","to":null,"timestamp":"2017-11-21T22:22:48.123Z","body":{"text":"<x>"}}]`},
		{"an audio event, newest", nexmo.Dialect{Generation: nexmo.SDK}, view(3, "audio:say", `{}`), ""},
	} {
		got := strings.Join(texts(t, tc.dialect.Events(nil, con, []*nodev1.EventView{tc.view})), "\n")
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// TestNewestKnowsMessages: what older clients send is told to the newest in its own words.
func TestNewestKnowsMessages(t *testing.T) {
	d := nexmo.Dialect{Generation: nexmo.SDK}
	deleted := view(1, "text", `{}`)
	deleted.Event.DeletedMs = 1511302968123
	for _, tc := range []struct {
		view *nodev1.EventView
		want string
	}{
		{view(1, "text", `{"text":"hi"}`), `42["message",.*"body":{"message_type":"text","text":"hi"}`},
		{view(1, "image", `{"representations":{"original":{"url":"https://x/1"}}}`), `42["message",.*"body":{"message_type":"image","image":{"url":"https://x/1"}}`},
		{view(1, "image", `{"representations":{}}`), ``},
		{view(1, "text:seen", `{"event_id":1}`), `42["message:seen",.*"body":{"event_id":1}`},
		{view(1, "custom:order", `{}`), `42["custom:order",.*"body":{}`},
		{view(1, "event:delete", `{"event_id":1}`), `42["event:delete",.*"body":{"event_id":1}`},
		{view(1, "event:seen", `{"event_id":1}`), ``},
		{view(0, "ephemeral", `{}`), `42["ephemeral",.*"body":{}`},
		{view(0, "text:typing:on", `{}`), ``},
		{deleted, `42["message",.*"body":{"message_type":"text","text":"","timestamp":{"deleted":"2017-11-21T22:22:48.123Z"}}`},
	} {
		got := strings.Join(texts(t, d.Events(nil, "CON-1", []*nodev1.EventView{tc.view})), "\n")
		begin, end, _ := strings.Cut(tc.want, ".*")
		if (got == "") != (tc.want == "") || !strings.HasPrefix(got, begin) || !strings.Contains(got, end) {
			t.Errorf("%s: %s, want %s", tc.view.Event.Type, got, tc.want)
		}
	}
}

func TestAcksAndSoftEvents(t *testing.T) {
	d := nexmo.Dialect{Generation: nexmo.Client, Acks: true}
	for sequence, wants := range map[uint64]bool{9: true, 0: false} {
		text := texts(t, d.Soft(nil, "CON-1", view(sequence, "text", `{}`)))[0]
		if got := text[2] != '['; got != wants {
			t.Errorf("sequence %d: %s", sequence, text)
		}
		if strings.Contains(text, `"id":0`) {
			t.Errorf("an event without sequence has an id: %s", text)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		con, sequence := rapid.String().Draw(t, "conversation"), rapid.Uint64Range(0, 1<<32-1).Draw(t, "sequence")
		ack := nexmo.AckID(con, sequence)
		if ack >= 1<<53 {
			t.Fatalf("%d is more than JavaScript counts", ack)
		}
		if key, got := nexmo.SplitAck(ack); got != sequence || key != nexmo.AckID(con, 0) {
			t.Fatalf("%d, %d", key, got)
		}
	})
}

// TestMembership: a session hears of its user's memberships only what no conversation tells it.
func TestMembership(t *testing.T) {
	d := nexmo.Dialect{Generation: nexmo.Stitch}
	event := view(4, "member:x", `{}`)
	for _, tc := range []struct {
		name   string
		change *nodev1.MembershipChange
		told   bool
	}{
		{"invited", &nodev1.MembershipChange{Membership: &eventv1.Membership{State: eventv1.MemberState_MEMBER_STATE_INVITED}, Event: event}, true},
		{"joined", &nodev1.MembershipChange{Membership: &eventv1.Membership{State: eventv1.MemberState_MEMBER_STATE_JOINED}, Event: event}, false},
		{"left", &nodev1.MembershipChange{Membership: &eventv1.Membership{State: eventv1.MemberState_MEMBER_STATE_LEFT, JoinedMs: 1}, Event: event}, false},
		{"rejected", &nodev1.MembershipChange{Membership: &eventv1.Membership{State: eventv1.MemberState_MEMBER_STATE_LEFT}, Event: event}, true},
		{"deleted", &nodev1.MembershipChange{Membership: &eventv1.Membership{State: eventv1.MemberState_MEMBER_STATE_INVITED, ConversationDeleted: true}, Event: event}, false},
		{"without event", &nodev1.MembershipChange{Membership: &eventv1.Membership{State: eventv1.MemberState_MEMBER_STATE_INVITED}}, false},
	} {
		if got := len(d.Membership(nil, tc.change)) > 0; got != tc.told {
			t.Errorf("%s: told %v", tc.name, got)
		}
	}
	if len(d.Cursor(nil, "CON-1", &eventv1.Cursor{}))+len(d.Reset(nil, "CON-1", 1))+len(d.Unsubscribed(nil, "CON-1", dialect.Left)) > 0 {
		t.Error("something is told that no SDK knows")
	}
}

func TestHistory(t *testing.T) {
	v := view(7, "text", `{"text":"hi"}`)
	v.Receipts = []*eventv1.Receipt{{MemberId: "MEM-b", DeliveredMs: 1511302968123}, {MemberId: "MEM-c", DeliveredMs: 1511302968123, SeenMs: 1511302968124}}
	got, ok := nexmo.Stitch.AppendHistory(nil, v)
	want := `{"type":"text","id":7,"from":"MEM-a","to":null,"timestamp":"2017-11-21T22:22:48.123Z","body":{"text":"hi"},"state":` +
		`{"delivered_to":{"MEM-b":"2017-11-21T22:22:48.123Z","MEM-c":"2017-11-21T22:22:48.123Z"},"seen_by":{"MEM-c":"2017-11-21T22:22:48.124Z"}}}`
	if d := cmp.Diff(want, string(got)); d != "" || !ok {
		t.Error(d)
	}
	got, _ = nexmo.Stitch.AppendHistory(nil, view(8, "text", ""))
	if !strings.HasSuffix(string(got), `"body":{},"state":null}`) {
		t.Error(string(got))
	}
}

// TestEverythingIsJSON whatever the names in it.
func TestEverythingIsJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := view(rapid.Uint64Range(0, 1<<40).Draw(rt, "sequence"), rapid.SampledFrom([]string{"text", "member:invited", "message", "custom:a", "image"}).Draw(rt, "type"), `{"a":"é"}`)
		v.Author = &eventv1.Author{UserId: "USR-1", Name: rapid.String().Draw(rt, "name"), DisplayName: rapid.String().Draw(rt, "display")}
		for g := nexmo.Conversation; g <= nexmo.SDK; g++ {
			for _, out := range [][]byte{history(g, v), pending(g, v)} {
				if len(out) > 0 && !json.Valid(out) {
					rt.Fatalf("%s: %s", g, out)
				}
			}
			for _, text := range texts(t, nexmo.Dialect{Generation: g}.Events(nil, "CON-1", []*nodev1.EventView{v})) {
				if !json.Valid([]byte(text[2:])) {
					rt.Fatalf("%s: %s", g, text)
				}
			}
		}
	})
}

func history(g nexmo.Generation, v *nodev1.EventView) []byte {
	out, _ := g.AppendHistory(nil, v)
	return out
}

func pending(g nexmo.Generation, v *nodev1.EventView) []byte {
	out, _ := g.AppendPending(nil, "CON-1", v)
	return out
}

func TestGenerationOf(t *testing.T) {
	for version, want := range map[string]nexmo.Generation{
		"": nexmo.Conversation, "@@SDK_version": nexmo.Conversation, "0.1.21": nexmo.Conversation, "1.0.0": nexmo.Stitch,
		"2.0.5": nexmo.Stitch, "4.0.2": nexmo.Stitch, "5.0.0": nexmo.Client, "9.5.1": nexmo.Client,
	} {
		if got := nexmo.GenerationOf(version); got != want {
			t.Errorf("%q: %s", version, got)
		}
	}
}
