package conversation_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/actors/conversation"
	"parley/actors/conversation/world"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// hall is a world with a conversation in which ann is joined, bob is invited and dan has left.
// cid made it and is no member; eve is a stranger.
type hall struct {
	*world.World
	t *testing.T
}

func newHall(t *testing.T) hall {
	h := hall{world.New(shards), t}
	h.must(asUser("cid"), &nodev1.Command{Body: &nodev1.Command_CreateConversation{
		CreateConversation: &nodev1.CreateConversation{Conversation: &eventv1.Conversation{Name: "hall"}}}})
	h.must(asAdmin(), adding("ann", nodev1.MemberAction_MEMBER_ACTION_JOIN))
	h.must(asAdmin(), adding("bob", nodev1.MemberAction_MEMBER_ACTION_INVITE))
	h.must(asAdmin(), adding("dan", nodev1.MemberAction_MEMBER_ACTION_JOIN))
	h.must(asUser("dan"), updating("me", nodev1.MemberAction_MEMBER_ACTION_LEAVE))
	h.must(asUser("ann"), posting("text", `{"text":"hi"}`))
	return h
}

func (h hall) do(p *nodev1.Principal, cmd *nodev1.Command) (*nodev1.Reply, error) {
	cmd.Principal = p
	results, err := h.Do(nodev1.Kind_KIND_CONVERSATION, app, room, cmd)
	if err != nil {
		h.t.Fatal(err)
	}
	return results[0].Reply, results[0].Err
}

func (h hall) must(p *nodev1.Principal, cmd *nodev1.Command) *nodev1.Reply {
	h.t.Helper()
	reply, err := h.do(p, cmd)
	if err != nil {
		h.t.Fatal(err)
	}
	return reply
}

func memberOf(name string) string { return id.Derive(id.Member, app, "", name) }

func adding(name string, action nodev1.MemberAction) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
		Action: action, NewMemberId: memberOf(name), User: author(userOf(name), name)}}}
}

func updating(member string, action nodev1.MemberAction) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_UpdateMember{UpdateMember: &nodev1.UpdateMember{MemberId: member, Action: action}}}
}

func posting(eventType, body string) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: eventType, Body: []byte(body)}}}
}

// TestClientTypes: every type that a client may send is stored, or relayed without a sequence.
func TestClientTypes(t *testing.T) {
	for eventType, body := range map[string]string{
		"text": `{"text":"a"}`, "image": `{"representations":{}}`, "text:update": `{"text":"b"}`,
		"text:delivered": `{"event_id":1}`, "text:seen": `{"event_id":1}`, "image:delivered": `{"event_id":1}`,
		"image:seen": `{"event_id":1}`, "message:delivered": `{"event_id":1}`, "message:seen": `{"event_id":"1"}`,
		"event:delivered": `{"event_id":1}`, "event:seen": `{"event_id":1}`,
		"message:submitted": `{"event_id":1}`, "message:rejected": `{"original_event_id":"1"}`, "message:undeliverable": `{"event_id":1}`,
		"custom": `{}`, "custom:order": `{"a":[1]}`, "custom:wechat:message": ``, "custom:A-z_0": `{}`,
		"audio:play": `{"stream_url":["u"]}`, "audio:play:stop": `{}`, "audio:play:done": `{}`, "audio:say": `{"text":"a"}`,
		"audio:say:stop": `{}`, "audio:say:done": `{}`, "audio:dtmf": `{"digits":"1"}`, "audio:record": `{}`,
		"audio:record:stop": `{}`, "audio:record:done": `{}`, "audio:mute:on": `{}`, "audio:mute:off": `{}`,
		"audio:earmuff:on": `{}`, "audio:earmuff:off": `{}`, "audio:speaking:on": `{}`, "audio:speaking:off": `{}`,
		"audio:ringing:start": `{}`, "audio:ringing:stop": `{}`, "audio:asr:done": `{}`, "audio:asr:record:done": `{}`,
		"text:typing:on": `{"activity":1}`, "text:typing:off": ``, "ephemeral": `{"x":1}`,
	} {
		t.Run(eventType, func(t *testing.T) {
			h := newHall(t)
			reply := h.must(asUser("ann"), posting(eventType, body))
			relayed := strings.HasPrefix(eventType, "text:typing:") || eventType == "ephemeral"
			if relayed != (reply.Event == nil) || reply.TimestampMs == 0 {
				t.Errorf("relayed=%v, event %v, time %d", relayed, reply.Event, reply.TimestampMs)
			}
		})
	}
}

func TestRefusedPosts(t *testing.T) {
	long := strings.Repeat("x", 100)
	big := fmt.Sprintf(`{"a":"%s"}`, strings.Repeat("x", conversation.CustomBodyBytesMax))
	for _, c := range []struct{ eventType, body, field string }{
		{"", `{}`, "type"}, {"nonsense", `{}`, "type"}, {"text2", `{}`, "type"}, {"custom:", `{}`, "type"},
		{"custom:a b", `{}`, "type"}, {"custom:" + long, `{}`, "type"}, {"audio:nonsense", `{}`, "type"},
		{"member:joined", `{}`, "type"}, {"member:media", `{}`, "type"}, {"conversation:updated", `{}`, "type"},
		{"event:delete", `{"event_id":1}`, "type"}, {"rtc:hangup", `{}`, "type"}, {"sip:hangup", `{}`, "type"},
		{"leg:status:update", `{}`, "type"}, {"TEXT", `{"text":"a"}`, "type"},
		{"text", ``, "body.text"}, {"text", `{"text":1}`, "body.text"}, {"text", `{"Text":"a"}`, "body.text"}, {"text", `7`, "body"},
		{"text", `{"text":"` + strings.Repeat("x", conversation.BodyBytesMax) + `"}`, "body"},
		{"image", `{}`, "body.representations"}, {"image", `{"representations":[]}`, "body.representations"},
		{"custom:a", big, "body"}, {"custom", big, "body"},
		{"message", `{}`, "body.message_type"}, {"message", `{"message_type":"fax"}`, "body.message_type"},
		{"message", `{"message_type":"text"}`, "body.text"}, {"message", `{"message_type":"video","video":{}}`, "body.video.url"},
		{"message", `{"message_type":"location","location":{"latitude":1}}`, "body.location.longitude"},
		{"message", `{"message_type":"location","location":{"latitude":"north","longitude":"1"}}`, "body.location.latitude"},
		{"message", `{"message_type":"location","location":{"latitude":"NaN","longitude":"1"}}`, "body.location.latitude"},
		{"message", `{"message_type":"location","location":{"latitude":"1","longitude":"0x1p-2"}}`, "body.location.longitude"},
		{"message", `{"message_type":"location","location":{"latitude":"1","longitude":"1e400"}}`, "body.location.longitude"},
		{"message", `{"message_type":"template","template":"x"}`, "body.template"},
		{"message:rejected", `{}`, "body.event_id"},
		{"text:seen", `{"event_id":-1}`, "body.event_id"}, {"text:seen", `{"event_id":1.5}`, "body.event_id"}, {"text:seen", `{"event_id":{}}`, "body.event_id"},
	} {
		t.Run(fmt.Sprintf("%.20s %.30s", c.eventType, c.body), func(t *testing.T) {
			h := newHall(t)
			_, err := h.do(asUser("ann"), posting(c.eventType, c.body))
			e, ok := code.Of(err)
			if !ok || e.Code != code.ValidationFail || len(e.Fields) != 1 || e.Fields[0].Name != c.field {
				t.Errorf("%v %+v, want a validation failure of %s", err, e, c.field)
			}
		})
	}
}

// TestMessages: every kind of message is stored, as it is sent.
func TestMessages(t *testing.T) {
	for _, body := range []string{
		`{"message_type":"text","text":""}`, `{"message_type":"image","image":{"url":"u"}}`, `{"message_type":"audio","audio":{"url":"u"}}`,
		`{"message_type":"video","video":{"url":"u"}}`, `{"message_type":"file","file":{"url":"u"}}`, `{"message_type":"vcard","vcard":{"url":"u"}}`,
		`{"message_type":"template","template":{}}`, `{"message_type":"custom","custom":{}}`, `{"message_type":"random"}`,
		`{"message_type":"location","location":{"latitude":51.5,"longitude":-0.1}}`,
		`{"message_type":"location","location":{"latitude":"51.5","longitude":"-0.1"}}`,
	} {
		h := newHall(t)
		if got := string(h.must(asUser("ann"), posting("message", body)).Event.Event.Body); got != body {
			t.Errorf("%s is stored as %s", body, got)
		}
	}
}

// TestStatusesNameTheirEventByNumber, however their sender writes it.
func TestStatusesNameTheirEventByNumber(t *testing.T) {
	for body, want := range map[string]string{
		`{"event_id":"5","a":1}`: `{"a":1,"event_id":5}`, `{"event_id":5}`: `{"event_id":5}`, `{"original_event_id":"5"}`: `{"original_event_id":"5"}`,
	} {
		h := newHall(t)
		if got := string(h.must(asUser("ann"), posting("message:submitted", body)).Event.Event.Body); got != want {
			t.Errorf("%s is stored as %s", body, got)
		}
	}
	long := strings.Repeat("<", 20000) // what is written anew must not become longer
	v := newHall(t).must(asUser("ann"), posting("message:submitted", `{"event_id":"5","a":"`+long+`"}`)).Event
	if n := len(v.Event.Body); n > 20100 {
		t.Errorf("20 KB are stored as %d bytes", n)
	}
}

// TestAccess is the table of the package comment.
func TestAccess(t *testing.T) {
	const (
		yes     = code.Code("")
		notHere = code.ConversationNotFound
		denied  = code.Permission
		outside = code.EventNotJoined
		already = code.MemberAlreadyJoined
		state   = code.InvalidMemberState
		nobody  = code.MemberNotFound
	)
	own := func() func(string) *nodev1.Command {
		return func(who string) *nodev1.Command { return adding(who, nodev1.MemberAction_MEMBER_ACTION_JOIN) }
	}
	always := func(cmd func() *nodev1.Command) func(string) *nodev1.Command {
		return func(string) *nodev1.Command { return cmd() }
	}
	for _, c := range []struct {
		what    string
		command func(who string) *nodev1.Command
		want    map[string]code.Code
	}{
		{"join oneself", own(), map[string]code.Code{"ann": already, "bob": yes, "cid": yes, "dan": yes, "eve": yes}},
		{"join another", always(func() *nodev1.Command { return adding("fay", nodev1.MemberAction_MEMBER_ACTION_JOIN) }),
			map[string]code.Code{"admin": yes, "ann": denied, "bob": denied, "cid": denied, "dan": notHere, "eve": notHere}},
		{"invite", always(func() *nodev1.Command { return adding("fay", nodev1.MemberAction_MEMBER_ACTION_INVITE) }),
			map[string]code.Code{"admin": yes, "ann": yes, "bob": denied, "cid": denied, "dan": notHere, "eve": notHere}},
		{"leave", always(func() *nodev1.Command { return updating("me", nodev1.MemberAction_MEMBER_ACTION_LEAVE) }),
			map[string]code.Code{"ann": yes, "bob": yes, "cid": nobody, "dan": state, "eve": notHere}},
		{"remove ann", always(func() *nodev1.Command { return updating(memberOf("ann"), nodev1.MemberAction_MEMBER_ACTION_LEAVE) }),
			map[string]code.Code{"admin": yes, "ann": yes, "bob": denied, "cid": denied, "dan": notHere, "eve": notHere}},
		{"accept for bob", always(func() *nodev1.Command { return updating(memberOf("bob"), nodev1.MemberAction_MEMBER_ACTION_JOIN) }),
			map[string]code.Code{"admin": yes, "ann": denied, "bob": yes, "cid": denied, "dan": denied, "eve": notHere}},
		{"post", always(func() *nodev1.Command { return posting("text", `{"text":"a"}`) }),
			map[string]code.Code{"admin": yes, "ann": yes, "bob": outside, "cid": outside, "dan": outside, "eve": notHere}},
		{"delete ann's event", always(func() *nodev1.Command {
			return &nodev1.Command{Body: &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: 5}}}
		}), map[string]code.Code{"admin": yes, "ann": yes, "bob": outside, "cid": outside, "dan": outside, "eve": notHere}},
		{"update", always(func() *nodev1.Command {
			return &nodev1.Command{Body: &nodev1.Command_UpdateConversation{UpdateConversation: &nodev1.UpdateConversation{}}}
		}), map[string]code.Code{"admin": yes, "ann": denied, "bob": denied, "cid": yes, "dan": notHere, "eve": notHere}},
		{"delete", always(func() *nodev1.Command {
			return &nodev1.Command{Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}}
		}), map[string]code.Code{"admin": yes, "ann": denied, "bob": denied, "cid": yes, "dan": notHere, "eve": notHere}},
	} {
		for who, want := range c.want {
			t.Run(c.what+" as "+who, func(t *testing.T) {
				h, p := newHall(t), asUser(who)
				if who == "admin" {
					p = asAdmin()
				}
				_, err := h.do(p, c.command(who))
				if want == yes && err != nil || want != yes && !code.Has(err, want) {
					t.Errorf("got %v, want %q", err, want)
				}
			})
		}
	}
}

// TestReading: who may read, by query, and that another application sees nothing.
func TestReading(t *testing.T) {
	h := newHall(t)
	get := &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}
	for who, may := range map[string]bool{"ann": true, "bob": true, "cid": true, "dan": false, "eve": false} {
		_, err := h.Ask(nodev1.Kind_KIND_CONVERSATION, app, room, &nodev1.Query{Principal: asUser(who), Body: get})
		if may != (err == nil) || err != nil && !code.Has(err, code.ConversationNotFound) {
			t.Errorf("%s: %v", who, err)
		}
	}
	for name, p := range map[string]*nodev1.Principal{
		"nobody": nil, "foreign admin": {ApplicationId: id.New(id.Application), Admin: true}, "no user": {ApplicationId: app},
	} {
		_, err := h.Ask(nodev1.Kind_KIND_CONVERSATION, app, room, &nodev1.Query{Principal: p, Body: get})
		if !code.Has(err, code.ConversationNotFound) {
			t.Errorf("%s reads: %v", name, err)
		}
		if _, err := h.do(p, posting("text", `{"text":"a"}`)); !code.Has(err, code.ConversationNotFound) {
			t.Errorf("%s posts: %v", name, err)
		}
	}
}

// TestProfiles: what a conversation may be made of.
func TestProfiles(t *testing.T) {
	for _, c := range []struct {
		field string // that is refused, empty = none
		made  *eventv1.Conversation
	}{
		{"", &eventv1.Conversation{Name: strings.Repeat("ü", 100), Numbers: []byte(`[{"type":"phone"}]`)}},
		{"", &eventv1.Conversation{Name: "n", Numbers: []byte(`{"sms":"1"}`), Properties: &eventv1.Properties{Ttl: 60}}},
		{"name", nil}, {"name", &eventv1.Conversation{}}, {"name", &eventv1.Conversation{Name: strings.Repeat("x", 101)}},
		{"display_name", &eventv1.Conversation{Name: "n", DisplayName: strings.Repeat("x", 51)}},
		{"image_url", &eventv1.Conversation{Name: "n", ImageUrl: strings.Repeat("x", 2049)}},
		{"numbers", &eventv1.Conversation{Name: "n", Numbers: []byte(`7`)}},
		{"numbers", &eventv1.Conversation{Name: "n", Numbers: []byte(`[],"x":[]`)}},
		{"properties.ttl", &eventv1.Conversation{Name: "n", Properties: &eventv1.Properties{Ttl: -1}}},
		{"properties.custom_data", &eventv1.Conversation{Name: "n", Properties: &eventv1.Properties{CustomData: []byte(`[]`)}}},
		{"callback.params", &eventv1.Conversation{Name: "n", Callback: &eventv1.Callback{Params: []byte(`x`)}}},
	} {
		h := hall{world.New(shards), t}
		_, err := h.do(asAdmin(), &nodev1.Command{Body: &nodev1.Command_CreateConversation{
			CreateConversation: &nodev1.CreateConversation{Conversation: c.made}}})
		e, _ := code.Of(err)
		if (err == nil) != (c.field == "") || err != nil && (e.Code != code.ValidationFail || e.Fields[0].Name != c.field) {
			t.Errorf("%v: %v, want a refusal of %q", c.made, err, c.field)
		}
	}
}

// TestOwnerless: a conversation that an administrator made belongs to no user, not to whoever has
// no user id.
func TestOwnerless(t *testing.T) {
	h := hall{world.New(shards), t}
	h.must(asAdmin(), &nodev1.Command{Body: &nodev1.Command_CreateConversation{
		CreateConversation: &nodev1.CreateConversation{Conversation: &eventv1.Conversation{Name: "hall"}}}})
	for _, cmd := range []*nodev1.Command{
		posting("text", `{"text":"a"}`), {Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}},
	} {
		if _, err := h.do(&nodev1.Principal{ApplicationId: app}, cmd); !code.Has(err, code.ConversationNotFound) {
			t.Errorf("without a user: %v", err)
		}
	}
}

// TestManyMembers: a large conversation is deleted in bounded steps, and every member hears of it.
func TestManyMembers(t *testing.T) {
	h := newHall(t)
	const crowd = 3 * conversation.PurgeMembersMax
	for i := range crowd {
		name := fmt.Sprint("m", i)
		h.Do(nodev1.Kind_KIND_USER, app, userOf(name), &nodev1.Command{Principal: asAdmin(),
			Body: &nodev1.Command_CreateUser{CreateUser: &nodev1.CreateUser{User: &eventv1.User{Name: name}}}})
		h.must(asAdmin(), adding(name, nodev1.MemberAction_MEMBER_ACTION_JOIN))
	}
	if err := h.Deliver(); err != nil {
		t.Fatal(err)
	}
	h.Fanout = nil
	h.must(asAdmin(), &nodev1.Command{Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}})
	if h.Pending() > 2 {
		t.Errorf("deleting leaves %d rows at once", h.Pending())
	}
	if err := h.Deliver(); err != nil {
		t.Fatal(err)
	}
	if gone := len(h.Fanout) - 1; gone != crowd {
		t.Errorf("%d of %d users heard", gone, crowd)
	}
	rows, _ := conversation.RowsOf(entity)
	if e, _ := rows.Event(h.Rows(), 1); e != nil {
		t.Error("events are still there")
	}
}
