package socketio_test

import (
	"strings"
	"testing"
	"time"
)

// TestNewerSDK is the main job of /v2/rtc/: login by query, live events with acknowledgements,
// resuming by session id, logging out.
func TestNewerSDK(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	a := n.newer(n.token("ann", time.Hour), "")
	if e := a.next("session:success"); len(a.pending) > 0 || e.payload.at("body", "name") != "ann" ||
		!strings.HasPrefix(e.payload.at("body", "id").(string), "SES-") || e.payload.at("body", "api_key") == "" {
		t.Fatalf("login: %v", e)
	}
	b := n.newer(n.token("bob", time.Hour), "")
	session := b.next("session:success").payload.at("body", "id").(string)

	id := n.post(con, "ann", `hi "bob" é`)
	for _, c := range []*client{a, b} {
		e := c.next("text")
		if e.payload["cid"] != con || e.payload["id"] != float64(id) || e.payload.at("body", "text") != `hi "bob" é` || e.ack == "" ||
			e.payload.at("_embedded", "from_user", "name") != "ann" || e.payload.at("_embedded", "from_user", "display_name") != "ANN" ||
			e.payload.at("_embedded", "from_member", "id") != e.payload["from"] || e.payload["rid"] != nil {
			t.Fatalf("text: %+v", e)
		}
	}
	a.do("text:typing:on", value{"cid": con, "body": value{"activity": 1}})
	if e := b.next("text:typing:on"); e.payload["id"] != nil || e.ack != "" || e.payload.at("body", "activity") != 1.0 {
		t.Fatalf("typing: %+v", e)
	}

	// Bob's connection is lost. He comes back with the id alone and gets what he missed, once.
	b.do("user:get", nil) // his acknowledgement has been read by now
	b.wire.close()
	missed := []uint64{n.post(con, "ann", "one"), n.post(con, "ann", "two")}
	other := n.conversation("ann")
	must(n.cluster.AddMember(t.Context(), n.admin, other, "", refOf("bob"), invite()))(t)
	b = n.newer(n.token("bob", time.Hour), session)
	e := b.next("session:success")
	if e.payload.at("body", "id") != session {
		t.Fatalf("resumed: %v", e)
	}
	if e.payload.at("body", "pending_events", "0", "type") != "member:invited" || e.payload.at("body", "pending_events", "0", "cid") != other {
		t.Errorf("missed invitations: %v", e.payload.at("body", "pending_events"))
	}
	for _, want := range missed {
		if e := b.next("text"); e.payload["id"] != float64(want) || e.ack == "" {
			t.Fatalf("missed %v, got %+v", want, e)
		}
	}

	if e := b.ask("session:logout", nil); e.name != "session:logged-out" {
		t.Fatalf("logout: %+v", e)
	}
	b = n.newer(n.token("bob", time.Hour), session)
	if e := b.next("session:success"); e.payload.at("body", "id") == session {
		t.Error("a session was resumed after its logout")
	}
}

// TestOlderSDK is the main job of /rtc/, over each of its transports.
func TestOlderSDK(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	for name, dial := range map[string]func() *client{
		"websocket": n.old,
		"polling":   func() *client { return n.connect(n.polling(), 3) },
		"upgrade":   func() *client { return n.upgraded() },
	} {
		t.Run(name, func(t *testing.T) { olderStory(t, n, dial) })
	}
}

func olderStory(t *testing.T, n *node, dial func() *client) {
	a, b := n.loginOver(dial(), "ann", "4.0.2"), n.loginOver(dial(), "bob", "4.0.2")
	con, _ := a.do("new:conversation", value{"body": value{"display_name": "Tea"}})["id"].(string)
	if got := a.do("conversation:join", value{"cid": con, "body": value{"user_name": "ann"}}); got["state"] != "JOINED" {
		t.Fatalf("join: %v", got)
	}
	if e := a.next("member:joined"); e.payload.at("body", "user", "name") != "ann" || e.payload["cid"] != con || e.payload["id"] != 1.0 {
		t.Fatalf("ann hears of her joining: %+v", e)
	}
	invited := a.do("conversation:invite", value{"cid": con, "body": value{"user_name": "bob"}})
	if invited["name"] != "bob" || invited["state"] != "INVITED" {
		t.Fatalf("invite: %v", invited)
	}
	e := b.next("member:invited")
	if e.payload["cid"] != con || e.payload["id"] != 2.0 || e.payload.at("body", "user", "media") == nil || e.payload.at("body", "invited_by") != "ann" {
		t.Fatalf("bob hears of his invitation: %+v", e)
	}
	got := b.do("conversation:get", value{"cid": con, "body": value{}})
	if len(got["members"].([]any)) != 2 || got["sequence_number"] != 2.0 || got["properties"] == nil {
		t.Fatalf("get: %v", got)
	}
	b.do("conversation:join", value{"cid": con, "body": value{"member_id": invited["id"]}})
	b.next("member:joined")

	answer := a.do("text", value{"cid": con, "from": a.member(con, "ann"), "body": value{"text": "grüße"}})
	e = b.next("text")
	if answer["id"] != e.payload["id"] || e.payload.at("body", "text") != "grüße" || e.payload["_embedded"] != nil {
		t.Fatalf("text: %v, %+v", answer, e)
	}
	b.do("text:seen", value{"cid": con, "body": value{"event_id": answer["id"]}})
	if e := a.next("text:seen"); e.payload.at("body", "event_id") != answer["id"] {
		t.Fatalf("seen: %+v", e)
	}
	b.do("text:typing:on", value{"cid": con, "body": value{"activity": 1}})
	if e := a.next("text:typing:on"); e.payload["id"] != nil {
		t.Fatalf("typing: %+v", e)
	}
	a.do("event:delete", value{"cid": con, "body": value{"event_id": answer["id"]}})
	if e := b.next("event:delete"); e.payload.at("body", "event_id") != answer["id"] {
		t.Fatalf("delete: %+v", e)
	}
	history := a.ask("conversation:events", value{"cid": con}).payload["body"].([]any)
	if len(history) != 6 || value(history[3].(map[string]any)).at("body", "timestamp", "deleted") == nil {
		t.Fatalf("history: %v", history)
	}
	part := a.ask("conversation:events", value{"cid": con, "body": value{"start_id": 2, "end_id": "3"}}).payload["body"].([]any)
	if len(part) != 2 || value(part[0].(map[string]any))["id"] != 2.0 {
		t.Fatalf("a part of it: %v", part)
	}
	for _, end := range []any{0, "0"} {
		if none := a.ask("conversation:events", value{"cid": con, "body": value{"end_id": end}}).payload["body"].([]any); len(none) != 0 {
			t.Fatalf("up to the one before the first: %v", none)
		}
	}
	listed := b.ask("user:conversations", nil).payload["body"].([]any)
	if found := value(listed[len(listed)-1].(map[string]any)); found["id"] != con && len(listed) == 1 || found["state"] == nil {
		t.Fatalf("conversations: %v", listed)
	}
	b.do("conversation:member:delete", value{"cid": con, "body": value{"member_id": invited["id"]}})
	if e := a.next("member:left"); e.payload.at("body", "user", "name") != "bob" {
		t.Fatalf("left: %+v", e)
	}
	b.next("member:left")
	if e := b.ask("text", value{"cid": con, "body": value{"text": "x"}}); e.name != "text:error:not-joined" || e.payload["description"] == "" {
		t.Fatalf("text after leaving: %+v", e)
	}
	a.do("conversation:delete", value{"cid": con})
}

// member finds a user's member.
func (c *client) member(con, name string) any {
	for _, m := range c.do("conversation:get", value{"cid": con, "body": value{}})["members"].([]any) {
		if value(m.(map[string]any))["name"] == name {
			return m.(map[string]any)["member_id"]
		}
	}
	return nil
}

// upgraded polls, then goes on over a WebSocket.
func (n *node) upgraded() *client {
	p := n.polling()
	c := n.connect(p, 3)
	_, query, _ := strings.Cut(p.url, "?")
	ws := n.webSocket("/rtc/?" + strings.Replace(query, "polling", "websocket", 1))
	waiting := make(chan string, 1)
	go func() { // the poll that the probe must release
		packet, err := p.receive()
		if err != nil {
			packet = err.Error()
		}
		waiting <- packet
	}()
	for _, step := range []struct{ send, want string }{{"2probe", "3probe"}} {
		if err := ws.send(step.send); err != nil {
			n.t.Fatal(err)
		}
		if got := must(ws.receive())(n.t); got != step.want {
			n.t.Fatalf("%s was answered %s", step.send, got)
		}
	}
	if got := <-waiting; got != "6" {
		n.t.Fatalf("the poll was released by %s", got)
	}
	if err := ws.send("5"); err != nil {
		n.t.Fatal(err)
	}
	c.wire = ws
	return c
}

// TestLeavingAndReturning over and over: the session follows whatever order the news comes in. What a node
// under load tells again, because it could not be sure, the client drops by its id, as the SDKs do.
func TestLeavingAndReturning(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann")
	b := n.login("bob", "4.0.2")
	last := 0.0
	fresh := func(name string) event {
		for {
			if e := b.next(name); e.payload["id"].(float64) > last {
				last = e.payload["id"].(float64)
				return e
			}
		}
	}
	for i := range 10 {
		b.do("conversation:join", value{"cid": con, "body": value{"user_name": "bob"}})
		if e := fresh("member:joined"); e.payload.at("body", "user", "name") != "bob" {
			t.Fatalf("round %d: %+v", i, e)
		}
		id := n.post(con, "ann", "hi")
		if e := fresh("text"); e.payload["id"] != float64(id) {
			t.Fatalf("round %d: %+v", i, e)
		}
		b.do("conversation:member:delete", value{"cid": con, "body": value{"member_id": "me"}})
		fresh("member:left")
	}
}
