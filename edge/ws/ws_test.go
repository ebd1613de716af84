package ws_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/limit"
	"parley/edge/socket"
	"parley/edge/ws"
)

// TestChat is the main job: two users, text, typing, receipts, a lost connection, catching up.
func TestChat(t *testing.T) {
	n := newNode(t)
	ann, bob := n.user("ann"), n.user("bob")
	con := n.conversation(ann, bob) // two member:joined events
	a, b := n.login("ann"), n.login("bob")

	if got := a.ask(frame{"type": "subscribe", "id": "1", "conversation": con, "after": 0}); got["head"] != 2.0 {
		t.Fatalf("subscribe: %v", got)
	}
	if got := a.sequences(2); !slices.Equal(got, []uint64{1, 2}) {
		t.Fatalf("caught up with %v", got)
	}
	b.ask(frame{"type": "subscribe", "id": "1", "conversation": con})

	ack := a.ask(frame{"type": "post", "id": "2", "conversation": con, "client_id": "a-1", "event_type": "text", "body": frame{"text": "hi \u00e9\n\"x\""}})
	if ack["sequence"] != 3.0 || ack["duplicate"] != nil {
		t.Fatalf("post: %v", ack)
	}
	event := b.next("events")["events"].([]any)[0].(map[string]any)
	if event["sequence"] != 3.0 || event["client_id"] != "a-1" || event["body"].(map[string]any)["text"] != "hi \u00e9\n\"x\"" ||
		event["user"].(map[string]any)["name"] != "ann" {
		t.Fatalf("bob got %v", event)
	}
	again := a.ask(frame{"type": "post", "id": "3", "conversation": con, "client_id": "a-1", "event_type": "text", "body": frame{"text": "hi"}})
	if again["sequence"] != 3.0 || again["duplicate"] != true {
		t.Fatalf("the retry: %v", again)
	}

	b.send(frame{"type": "typing", "conversation": con, "on": true})
	if soft := a.next("soft"); soft["event_type"] != "text:typing:on" || soft["user"].(map[string]any)["name"] != "bob" {
		t.Fatalf("typing: %v", soft)
	}
	if got := b.ask(frame{"type": "receipt", "id": "4", "conversation": con, "seen": 3}); got["type"] != "ack" {
		t.Fatalf("receipt: %v", got)
	}

	// Bob goes, misses two, comes back and gets exactly those.
	head := b.ask(frame{"type": "history", "id": "5", "conversation": con})["head"].(float64)
	if err := b.conn.CloseNow(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		a.ask(frame{"type": "post", "id": "6", "conversation": con, "client_id": fmt.Sprint("m", i), "event_type": "text", "body": frame{"text": "missed"}})
	}
	b = n.login("bob")
	b.ask(frame{"type": "subscribe", "id": "1", "conversation": con, "after": head})
	if got := b.sequences(2); !slices.Equal(got, []uint64{uint64(head) + 1, uint64(head) + 2}) {
		t.Fatalf("bob caught up with %v after %v", got, head)
	}
}

func TestMembership(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	n.user("bob")
	a, b := n.login("ann"), n.login("bob")
	b.next("refetch") // from now on bob hears of each change
	made := a.ask(frame{"type": "create_conversation", "id": "1", "client_id": "k", "name": "tea", "display_name": "Tea"})
	con, _ := made["conversation"].(string)
	if !strings.HasPrefix(con, "CON-") || made["name"] != "tea" {
		t.Fatalf("create: %v", made)
	}
	if again := a.ask(frame{"type": "create_conversation", "id": "1", "client_id": "k", "name": "tea", "display_name": "Tea"}); again["conversation"] != con {
		t.Fatalf("the retried create made another: %v", again)
	}
	if got := a.ask(frame{"type": "join", "id": "2", "conversation": con}); got["member"].(map[string]any)["state"] != "JOINED" || got["sequence"] != 1.0 {
		t.Fatalf("join: %v", got)
	}
	if got := b.ask(frame{"type": "subscribe", "id": "3", "conversation": con}); got["type"] != "error" {
		t.Fatalf("a stranger subscribed: %v", got)
	}
	invited := a.ask(frame{"type": "invite", "id": "4", "conversation": con, "user_name": "bob"})
	if invited["member"].(map[string]any)["state"] != "INVITED" {
		t.Fatalf("invite: %v", invited)
	}
	if got := b.next("membership"); got["conversation"] != con || got["state"] != "INVITED" {
		t.Fatalf("bob heard %v", got)
	}
	if got := b.ask(frame{"type": "subscribe", "id": "5", "conversation": con}); got["type"] != "ack" {
		t.Fatalf("an invited user may read: %v", got)
	}
	if got := b.ask(frame{"type": "join", "id": "6", "conversation": con}); got["member"].(map[string]any)["state"] != "JOINED" {
		t.Fatalf("join: %v", got)
	}
	// Ann throws bob out: he hears it, then nothing more.
	member := invited["member"].(map[string]any)["id"]
	if got := a.ask(frame{"type": "leave", "id": "7", "conversation": con, "member_id": member, "reason": "bye"}); got["type"] != "ack" {
		t.Fatalf("kick: %v", got)
	}
	last := ""
	for {
		f, err := b.read()
		if err != nil {
			t.Fatal(err)
		}
		if f["type"] == "unsubscribed" {
			if f["reason"] != "left" || last != "member:left" {
				t.Fatalf("%v after %q", f, last)
			}
			break
		}
		if f["type"] == "events" {
			events := f["events"].([]any) // perhaps several at once
			last = events[len(events)-1].(map[string]any)["type"].(string)
		}
	}
	if got := b.ask(frame{"type": "subscribe", "id": "8", "conversation": con}); got["type"] != "error" {
		t.Fatalf("bob came back: %v", got)
	}
}

func TestRefusals(t *testing.T) {
	n := newNode(t)
	ann := n.user("ann")
	con := n.conversation(ann)
	c := n.login("ann")
	for _, tc := range []struct {
		name     string
		send     frame
		code     string
		recovery string
	}{
		{"unknown frame", frame{"type": "dance", "id": "1"}, "http:error:validation-fail", "stop"},
		{"no conversation", frame{"type": "post", "id": "2", "event_type": "text"}, "http:error:validation-fail", "stop"},
		{"no event type", frame{"type": "post", "id": "3", "conversation": con}, "http:error:validation-fail", "stop"},
		{"body is a list", frame{"type": "post", "id": "4", "conversation": con, "event_type": "text", "body": []int{1}}, "http:error:validation-fail", "stop"},
		{"unknown event type", frame{"type": "post", "id": "5", "conversation": con, "event_type": "dance", "body": frame{}}, "http:error:validation-fail", "stop"},
		{"unknown conversation", frame{"type": "subscribe", "id": "6", "conversation": "CON-0de7a7b5-5e1e-4b5e-9a5e-0c5f4f1d2a11"}, "conversation:error:not-found", "stop"},
		{"not subscribed", frame{"type": "unsubscribe", "id": "7", "conversation": con}, "http:error:not-found", "stop"},
		{"page too large", frame{"type": "history", "id": "8", "conversation": con, "page_size": 101}, "http:error:validation-fail", "stop"},
		{"receipt of nothing", frame{"type": "receipt", "id": "9", "conversation": con}, "http:error:validation-fail", "stop"},
		{"client id too long", frame{"type": "post", "id": "10", "conversation": con, "event_type": "text", "body": frame{"text": "x"}, "client_id": strings.Repeat("x", 129)}, "http:error:validation-fail", "stop"},
		{"token of an administrator", frame{"type": "update_token", "id": "11", "token": n.token("", time.Hour)}, "system:error:permission", "stop"},
		{"expired token", frame{"type": "update_token", "id": "12", "token": n.token("ann", -time.Minute)}, "system:error:expired-token", "login"},
	} {
		got := c.ask(tc.send)
		if got["type"] != "error" || got["code"] != tc.code || got["recovery"] != tc.recovery || got["message"] == nil {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if got := c.ask(frame{"type": "ping", "id": "still"}); got["type"] != "pong" {
		t.Errorf("the connection did not survive: %v", got)
	}
}

func TestHelloRefused(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	for _, tc := range []struct {
		name  string
		send  frame
		code  string
		close websocket.StatusCode
	}{
		{"no token", frame{"type": "hello", "id": "1"}, "system:error:missing-token", 4201},
		{"nonsense", frame{"type": "hello", "id": "1", "token": "x.y.z"}, "system:error:invalid-token", 4201},
		{"expired", frame{"type": "hello", "id": "1", "token": n.token("ann", -time.Minute)}, "system:error:expired-token", 4201},
		{"unknown user", frame{"type": "hello", "id": "1", "token": n.token("eve", time.Hour)}, "system:error:invalid-token", 4201},
		{"administrator", frame{"type": "hello", "id": "1", "token": n.token("", time.Hour)}, "system:error:permission", 4201},
		{"not hello", frame{"type": "ping", "id": "1"}, "session:invalid", 4301},
	} {
		c := n.dial("parley.v1.json")
		c.send(tc.send)
		code, errors := c.closed()
		if code != tc.close || len(errors) != 1 || errors[0]["code"] != tc.code || errors[0]["id"] != "1" {
			t.Errorf("%s: close %d, errors %v", tc.name, code, errors)
		}
	}
}

// TestWhoSaysNoHello is closed too.
func TestWhoSaysNoHello(t *testing.T) {
	n := newNode(t, tune{sockets: func(o *socket.Options) { o.HelloWithin = time.Millisecond }})
	if code, _ := n.dial("parley.v1.json").closed(); code != 4202 {
		t.Errorf("silence: close %d", code)
	}
}

func TestMalformedFrameClosesThatConnectionOnly(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	other := n.login("ann")
	for name, text := range map[string]string{
		"not JSON":    `{"type":`,
		"not object":  `[1]`,
		"wrong kind":  `{"type":"ping","id":7}`,
		"too deep":    `{"type":"post","body":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 41),
		"not UTF-8":   "{\"type\":\"post\",\"body\":{\"text\":\"\xff\"}}",
		"empty":       ``,
		"bad cursor":  `{"type":"history","cursor":"%%"}`,
		"many values": `{"type":"history","types":[` + strings.Repeat(`"x",`, 5000) + `"x"]}`,
	} {
		c := n.login("ann")
		if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		code, errors := c.closed()
		if code != 4300 || len(errors) != 1 || !strings.Contains(errors[0]["message"].(string), "malformed") {
			t.Errorf("%s: close %d, errors %v", name, code, errors)
		}
	}
	if got := other.ask(frame{"type": "ping", "id": "1"}); got["type"] != "pong" {
		t.Errorf("another connection: %v", got)
	}
}

// TestTokenEnds: a session ends with its token, unless it is given a later one in time. The tokens are as brief
// as this machine bears.
func TestTokenEnds(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	for lasts := 2 * time.Second; ; lasts *= 2 {
		if lasts > time.Minute {
			t.Fatal("no session is welcome, or none can be given a later token")
		}
		short, longer := n.dial("parley.v1.json"), n.dial("parley.v1.json")
		if short.try(frame{"type": "hello", "id": "1", "token": n.token("ann", lasts)})["type"] != "welcome" ||
			longer.try(frame{"type": "hello", "id": "1", "token": n.token("ann", lasts)})["type"] != "welcome" ||
			longer.try(frame{"type": "update_token", "id": "2", "token": n.token("ann", time.Hour)})["type"] != "ack" {
			continue
		}
		if code, _ := short.closed(); code != 4200 {
			t.Errorf("close %d", code)
		}
		if got := longer.ask(frame{"type": "ping", "id": "3"}); got["type"] != "pong" {
			t.Errorf("the extended session: %v", got)
		}
		return
	}
}

func TestSessions(t *testing.T) {
	n := newNode(t)
	ann := n.user("ann")
	first := n.dial("parley.v1.json")
	w := first.ask(frame{"type": "hello", "id": "1", "token": n.token("ann", time.Hour)})
	session := w["session_id"].(string)
	second := n.dial("parley.v1.json")
	w = second.ask(frame{"type": "hello", "id": "1", "token": n.token("ann", time.Hour), "session_id": session})
	if w["session_id"] != session || w["resumed"] != true {
		t.Fatalf("resumed: %v", w)
	}
	if code, _ := first.closed(); code != 4100 {
		t.Errorf("the replaced connection closed with %d", code)
	}
	if got := n.hub.SessionsOf(n.app, ann.Id); len(got) != 1 || got[0].ID != session {
		t.Errorf("sessions: %v", got)
	}
	second.send(frame{"type": "bye"})
	if code, _ := second.closed(); code != 1000 {
		t.Errorf("bye closed with %d", code)
	}
	third := n.dial("parley.v1.json")
	w = third.ask(frame{"type": "hello", "id": "1", "token": n.token("ann", time.Hour), "session_id": session})
	if w["resumed"] == true {
		t.Errorf("a session ended by bye was resumed: %v", w)
	}
}

func TestPipelinedPostsKeepOrderAndAreBounded(t *testing.T) {
	const posts = 200
	n := newNode(t, tune{ws: func(o *ws.Options) { o.PostsInFlight = 16 }})
	ann := n.user("ann")
	con := n.conversation(ann)
	c := n.login("ann")
	for i := range posts {
		c.send(frame{"type": "post", "id": fmt.Sprint(i), "conversation": con, "client_id": fmt.Sprint(i), "event_type": "text", "body": frame{"text": fmt.Sprint(i)}})
	}
	sequences := map[string]float64{}
	refused := 0
	for len(sequences)+refused < posts { // news of the joining may come between
		f, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		switch f["type"] {
		case "ack":
			sequences[f["id"].(string)] = f["sequence"].(float64)
		case "error":
			if f["code"] != "http:error:too-many-requests" || f["recovery"] != "retry" || f["retry_after_ms"] == nil {
				t.Fatalf("%v", f)
			}
			refused++
		}
	}
	last := 0.0
	for i := range posts {
		if s, ok := sequences[fmt.Sprint(i)]; ok {
			if s <= last {
				t.Fatalf("post %d has sequence %v after %v", i, s, last)
			}
			last = s
		}
	}
	t.Logf("%d acked, %d refused", len(sequences), refused)
	if len(sequences) < 16 {
		t.Errorf("only %d were taken", len(sequences))
	}
}

func TestConnectionRateLimit(t *testing.T) {
	n := newNode(t, tune{limits: func(o *limit.Options) {
		o.Rates[limit.Connection] = limit.Rate{PerSecond: 0.001, Burst: 3}
	}})
	n.user("ann")
	c := n.login("ann")
	for range 3 {
		if got := c.ask(frame{"type": "ping", "id": "1"}); got["type"] != "pong" {
			t.Fatal(got)
		}
	}
	if got := c.ask(frame{"type": "ping", "id": "2"}); got["code"] != "http:error:too-many-requests" || got["retry_after_ms"] == nil {
		t.Errorf("%v", got)
	}
}

func TestDeletedConversationEndsSubscriptions(t *testing.T) {
	n := newNode(t)
	ann := n.user("ann")
	con := n.conversation(ann)
	c := n.login("ann")
	c.ask(frame{"type": "subscribe", "id": "1", "conversation": con})
	if err := n.cluster.DeleteConversation(t.Context(), n.admin, con); err != nil {
		t.Fatal(err)
	}
	if got := c.next("unsubscribed"); got["reason"] != "deleted" {
		t.Errorf("%v", got)
	}
}

// TestDeletedUserIsTerminated: the close code is all that a deleted user's connection gets. It may have been asked
// to fetch anew before that, whenever the node could not be sure to have heard everything.
func TestDeletedUserIsTerminated(t *testing.T) {
	n := newNode(t)
	ann := n.user("ann")
	c := n.login("ann")
	c.next("refetch")
	if err := n.cluster.DeleteUser(t.Context(), n.admin, ann.Id); err != nil {
		t.Fatal(err)
	}
	got, err := c.read()
	for err == nil && got["type"] == "refetch" {
		got, err = c.read()
	}
	if websocket.CloseStatus(err) != websocket.StatusCode(socket.Terminated) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNoSubprotocolIsAnswered(t *testing.T) {
	n := newNode(t)
	_, r, err := websocket.Dial(t.Context(), n.url, nil)
	if err == nil || r.StatusCode != 400 {
		t.Errorf("%v, %v", r, err)
	}
}
