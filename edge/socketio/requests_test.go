package socketio_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parley/edge/limit"
	"parley/edge/socketio"
	"parley/internal/spent"
)

func TestRefusals(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob", "eve")
	con := n.conversation("ann", "bob")
	secret := n.conversation("bob")
	c := n.login("ann", "4.0.2")
	bobs := c.member(con, "bob")
	for _, tc := range []struct {
		kind    string
		payload value
		code    string
	}{
		{"dance", nil, "system:error:invalid-event"},
		{"text", value{"body": value{"text": "x"}}, "http:error:validation-fail"},
		{"text", value{"cid": con, "body": value{}}, "http:error:validation-fail"},
		{"text", value{"cid": con, "body": []int{1}}, "http:error:validation-fail"},
		{"text", value{"cid": con, "from": bobs, "body": value{"text": "x"}}, "text:error:invalid-member"},
		{"text", value{"cid": secret, "body": value{"text": "x"}}, "conversation:error:not-found"},
		{"text", value{"cid": "CON-nonsense", "body": value{"text": "x"}}, "conversation:error:not-found"},
		{"text:dance", value{"cid": con, "body": value{}}, "http:error:validation-fail"},
		{"conversation:get", value{"cid": secret}, "conversation:error:not-found"},
		{"conversation:get", nil, "http:error:validation-fail"},
		{"conversation:events", value{"cid": secret}, "conversation:error:not-found"},
		{"conversation:join", value{"cid": con, "body": value{"user_name": "ann"}}, "conversation:error:member-already-joined"},
		{"conversation:join", value{"cid": con, "body": value{"user_name": "eve"}}, "system:error:permission"},
		{"conversation:invite", value{"cid": con, "body": value{"user_name": "nobody"}}, "user:error:not-found"},
		{"conversation:invite", value{"cid": con, "body": value{}}, "http:error:validation-fail"},
		{"conversation:member:delete", value{"cid": con, "body": value{"member_id": "MEM-nobody"}}, "conversation:error:member-not-found"},
		{"event:delete", value{"cid": con, "body": value{"event_id": 999}}, "event:error:not-found"},
		{"event:delete", value{"cid": con, "body": value{}}, "event:error:not-found"},
		{"text:seen", value{"cid": con, "body": value{"event_id": 999}}, "event:error:not-found"},
		{"user:get", value{"body": value{"user_id": "USR-nobody"}}, "user:error:not-found"},
		{"rtc:new", value{"cid": con, "body": value{"offer": value{"sdp": "v=0"}}}, "system:error:not-available"},
		{"rtc:terminate", value{"rtc_id": "x"}, "system:error:not-available"},
		{"knocking:new", value{"body": value{"channel": value{}}}, "system:error:not-available"},
		{"knocking:delete", value{}, "system:error:not-available"},
		{"session:update-token", value{"body": value{"token": "x"}}, "system:error:invalid-token"},
	} {
		e := c.ask(tc.kind, tc.payload)
		if e.name != tc.code || e.payload["description"] == "" || e.payload["code"] != tc.code {
			t.Errorf("%s %v: %s %v, want %s", tc.kind, tc.payload, e.name, e.payload, tc.code)
		}
	}
	c.do("text", value{"cid": con, "body": value{"text": "the connection survived"}})
}

// TestNullsAndNumbers: old clients send null for absent, and ids that are no strings.
func TestNullsAndNumbers(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	con := n.conversation("ann")
	c := n.login("ann", "0.1.21")
	for _, text := range []string{
		`42["text",{"tid":"1511302968","cid":%q,"from":null,"to":null,"body":{"text":"a"},"rtc_id":null}]`,
		`42["text",{"tid":1511302968,"cid":%q,"from":7,"body":{"text":"b"}}]`,
		`42["conversation:events",{"tid":"x","cid":%q,"body":null}]`,
		`42["conversation:events",{"tid":"x","cid":%q}]`,
	} {
		if err := c.wire.send(fmt.Sprintf(text, con)); err != nil {
			t.Fatal(err)
		}
		e := event{}
		for e.payload["rid"] == nil {
			var err error
			if e, err = c.read(); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasSuffix(e.name, ":success") {
			t.Errorf("%s: %+v", text, e)
		}
	}
	// An acknowledgement that the client asks for is given; the answer comes as ever.
	if err := c.wire.send(`4217["user:get",{"tid":"y","body":{}}]`); err != nil {
		t.Fatal(err)
	}
	if p := must(c.packet())(t); p != "4317[]" {
		t.Error(p)
	}
}

func TestMalformedPacketsEndTheConnection(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	other := n.login("ann", "4.0.2")
	for name, packet := range map[string]string{
		"attachments without end":  `451000000000-["text",{"_placeholder":true,"num":0}]`,
		"a binary acknowledgement": `461-0[]`,
		"an ack without end":       `43` + strings.Repeat("9", 1000) + `[]`,
		"depth":                    `42["text",` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `]`,
		"no name":                  `42[{}]`,
		"no array":                 `42{"a":1}`,
		"a payload that is none":   `42["text",7]`,
		"not JSON":                 `42["text",{`,
		"many members":             `42["text",{"body":[` + strings.Repeat("1,", 20_000) + `1]}]`,
		"a long namespace":         `40/` + strings.Repeat("x", 1000),
		"an unknown type":          `49`,
		"empty":                    `4`,
	} {
		spent.Little(t, name, func() {
			c := n.login("ann", "4.0.2")
			if err := c.wire.send(packet); err != nil {
				t.Fatal(err)
			}
			c.ended()
		})
	}
	other.do("user:get", nil)
}

func TestOtherNamespacesAreRefused(t *testing.T) {
	n := newNode(t)
	c := n.old()
	if err := c.wire.send("40/admin,"); err != nil {
		t.Fatal(err)
	}
	if p := must(c.packet())(t); p != `44/admin,"Invalid namespace"` {
		t.Error(p)
	}
}

// TestGenerations: the oldest SDK must not see the conversation inside a membership event, the
// newest insists on it and knows messages alone.
func TestGenerations(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob", "cy")
	con := n.conversation("ann", "bob")
	oldest, middle, newer := n.login("ann", "0.1.21"), n.login("ann", "3.0.1"), n.newer(n.token("ann", time.Hour), "")
	newest := n.connect(n.webSocket("/v2/rtc/?EIO=4&transport=websocket&SDK_name=client-sdk&token="+n.token("ann", time.Hour)), 4)
	newest.next("session:success")
	newer.next("session:success")
	must(n.cluster.AddMember(t.Context(), n.admin, con, "", refOf("cy"), invite()))(t)
	if e := oldest.next("member:invited"); e.payload.at("body", "conversation") != nil || e.payload.at("body", "user", "media") == nil {
		t.Errorf("oldest: %v", e.payload)
	}
	middle.next("member:invited")
	for _, c := range []*client{newer, newest} {
		if e := c.next("member:invited"); e.payload.at("body", "conversation", "conversation_id") != con || e.payload.at("_embedded", "from_member", "id") == nil ||
			e.payload.at("body", "user", "id") == nil || e.payload.at("body", "user", "user_id") == nil {
			t.Errorf("newer: %v", e.payload)
		}
	}
	n.post(con, "bob", "hi")
	if e := newest.next("message"); e.payload.at("body", "message_type") != "text" || e.payload.at("body", "text") != "hi" {
		t.Errorf("newest: %v", e.payload)
	}
	newer.next("text")
	middle.do("audio:mute:on", value{"cid": con, "body": value{}})
	if e := oldest.ask("audio:mute:on", value{"cid": con, "body": value{}}); e.name != "audio:mute:success" {
		t.Errorf("the oldest SDK waits for another name: %+v", e)
	}
}

// TestLongHistory is answered whole, past the bound of what may wait for a peer, while the
// connection goes on.
func TestLongHistory(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	con := n.conversation("ann")
	c := n.login("ann", "0.1.21")
	const texts, size = 300, 8000
	for range texts {
		c.do("text", value{"cid": con, "body": value{"text": strings.Repeat("x", size)}})
	}
	for range 2 {
		got := c.ask("conversation:events", value{"cid": con}).payload["body"].([]any)
		if len(got) != texts+1 {
			t.Fatalf("%d events", len(got))
		}
	}
	c.do("user:get", nil)
	small := newNode(t, tune{socket: func(o *socketio.Options) { o.AnswerBytesMax = 1000 }})
	small.users("ann")
	con = small.conversation("ann")
	c = small.login("ann", "0.1.21")
	for range 110 {
		c.do("text", value{"cid": con, "body": value{"text": "x"}})
	}
	if e := c.ask("conversation:events", value{"cid": con}); e.name != "http:error:payload-too-large" {
		t.Errorf("%s", e.name)
	}
}

func TestManyConversationsAreFollowed(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.Subscriptions = 110 }})
	n.users("ann")
	var all []string
	for range 120 {
		all = append(all, n.conversation("ann"))
	}
	c := n.login("ann", "4.0.2")
	if got := c.ask("user:conversations", nil).payload["body"].([]any); len(got) != len(all) {
		t.Errorf("%d conversations listed", len(got))
	}
	for _, con := range all {
		n.post(con, "ann", con)
	}
	heard := map[any]bool{}
	for len(heard) < 110 {
		heard[c.next("text").payload["cid"]] = true
	}
}

func TestDeletedUserIsTerminated(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	c := n.login("ann", "4.0.2")
	ann := must(n.cluster.GetUser(t.Context(), n.admin, refOf("ann")))(t)
	if err := n.cluster.DeleteUser(t.Context(), n.admin, ann.Id); err != nil {
		t.Fatal(err)
	}
	got := c.ended()
	if len(got) < 2 || got[len(got)-2].name != "session:terminated" || got[len(got)-1].name != "packet 41" {
		t.Errorf("%v", got)
	}
}

func TestRateLimit(t *testing.T) {
	n := newNode(t, tune{limits: func(o *limit.Options) {
		o.Rates[limit.Connection] = limit.Rate{PerSecond: 0.001, Burst: 3}
	}})
	n.users("ann")
	c := n.login("ann", "4.0.2")
	for range 3 {
		c.do("user:get", nil)
	}
	if e := c.ask("user:get", nil); e.name != "http:error:too-many-requests" || e.payload["retry_after_ms"] == nil {
		t.Errorf("%+v", e)
	}
}

// TestPipelinedTexts keep their order, and none is lost: the reader waits when too many do.
func TestPipelinedTexts(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.PostsInFlight = 4 }})
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	a, b := n.login("ann", "4.0.2"), n.login("bob", "4.0.2")
	const texts = 200
	for i := range texts {
		a.send("text", value{"cid": con, "body": value{"text": fmt.Sprint(i)}})
	}
	last := 0.0
	for i := range texts {
		e := b.next("text")
		if id := e.payload["id"].(float64); e.payload.at("body", "text") != fmt.Sprint(i) || id <= last {
			t.Fatalf("text %d is %v", i, e.payload)
		} else {
			last = id
		}
	}
}
