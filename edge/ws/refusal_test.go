package ws_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/limit"
	"parley/edge/ws"
	"parley/test/solo"
)

// commands is every command that names a conversation, ready to be sent.
func commands(con string) map[string]frame {
	return map[string]frame{
		"subscribe":    {"type": "subscribe", "conversation": con, "after": 0},
		"history":      {"type": "history", "conversation": con},
		"post":         {"type": "post", "conversation": con, "event_type": "text", "body": frame{"text": "x"}},
		"typing":       {"type": "typing", "conversation": con, "on": true},
		"receipt":      {"type": "receipt", "conversation": con, "seen": 1},
		"delete_event": {"type": "delete_event", "conversation": con, "sequence": 2},
		"invite":       {"type": "invite", "conversation": con, "user_name": "eve"},
		"leave":        {"type": "leave", "conversation": con},
	}
}

// TestWhoMayDoWhat sends every command as a stranger, as an invited user, as one that has left,
// and as a user of another application: what is refused is refused with its code, and leaves no
// trace in the conversation. To join, knowing the id is enough, within the application.
func TestWhoMayDoWhat(t *testing.T) {
	n := newNode(t)
	ann, bob, cid := n.user("ann"), n.user("bob"), n.user("cid")
	n.user("dan")
	n.user("eve")
	con := n.conversation(ann, bob, cid)
	a := n.login("ann")
	if got := a.ask(frame{"type": "post", "id": "1", "conversation": con, "event_type": "text", "body": frame{"text": "hi"}}); got["type"] != "ack" {
		t.Fatal(got)
	}
	if got := a.ask(frame{"type": "invite", "id": "2", "conversation": con, "user_name": "dan"}); got["type"] != "ack" {
		t.Fatal(got)
	}
	left := n.login("cid")
	if got := left.ask(frame{"type": "leave", "id": "3", "conversation": con}); got["member"].(map[string]any)["state"] != "LEFT" {
		t.Fatal(got)
	}
	before := a.ask(frame{"type": "history", "id": "4", "conversation": con})["head"]

	const hidden = "conversation:error:not-found"
	const foreign = "a user of another application"
	for who, may := range map[string][]string{"eve": nil, "cid": nil, "dan": {"subscribe", "history"}, foreign: nil} {
		list := commands(con)
		var c *client
		if who == foreign {
			c = n.foreigner("ann") // of the same name as the creator
			list["join"] = frame{"type": "join", "conversation": con}
		} else {
			c = n.login(who)
		}
		for name, f := range list {
			if name == "leave" && who == "dan" {
				continue // rejects the invitation: allowed
			}
			f["id"] = name
			got := c.ask(f)
			if slices.Contains(may, name) {
				if got["type"] != "ack" {
					t.Errorf("%s may %s: %v", who, name, got)
				}
				continue
			}
			if got["type"] != "error" || got["message"] == nil || got["recovery"] == "retry" {
				t.Errorf("%s may not %s: %v", who, name, got)
			}
			if (who == "eve" || who == foreign) && got["code"] != hidden {
				t.Errorf("%s learns by %s that the conversation exists: %v", who, name, got)
			}
		}
	}
	if after := a.ask(frame{"type": "history", "id": "5", "conversation": con})["head"]; after != before {
		t.Errorf("refused commands moved the head from %v to %v", before, after)
	}
	for _, who := range []string{"eve", "cid", "dan"} {
		got := n.login(who).ask(frame{"type": "join", "id": "6", "conversation": con})
		if member, _ := got["member"].(map[string]any); member["state"] != "JOINED" {
			t.Errorf("%s may join: %v", who, got)
		}
	}
}

// foreigner logs in as a user of an application of its own.
func (n *node) foreigner(name string) *client {
	n.t.Helper()
	defer n.belong(n.tenant)
	n.belong(solo.NewTenant(n.t, n.cluster, ""))
	n.user(name)
	n.user("eve") // whom the commands name
	return n.login(name)
}

func TestOnlyItsAuthorDeletes(t *testing.T) {
	n := newNode(t)
	con := n.conversation(n.user("ann"), n.user("bob"))
	a, b := n.login("ann"), n.login("bob")
	sequence := a.ask(frame{"type": "post", "id": "1", "conversation": con, "event_type": "text", "body": frame{"text": "secret"}})["sequence"]
	if got := b.ask(frame{"type": "delete_event", "id": "2", "conversation": con, "sequence": sequence}); got["type"] != "error" {
		t.Errorf("bob deleted ann's event: %v", got)
	}
	b.ask(frame{"type": "subscribe", "id": "3", "conversation": con})
	if got := a.ask(frame{"type": "delete_event", "id": "4", "conversation": con, "sequence": sequence}); got["type"] != "ack" {
		t.Fatal(got)
	}
	gone := b.next("events")["events"].([]any)[0].(map[string]any)
	if gone["type"] != "event:delete" || gone["body"].(map[string]any)["event_id"] != sequence {
		t.Errorf("bob heard %v", gone)
	}
	// Whoever subscribes now, from before the event, does not see what it said: neither from the
	// edge's memory nor from the store.
	late := n.login("bob")
	late.ask(frame{"type": "subscribe", "id": "5", "conversation": con, "after": 0})
	f := late.next("events")
	if text := fmt.Sprint(f); strings.Contains(text, "secret") {
		t.Errorf("the deleted body came back: %s", text)
	}
}

func TestHistoryPages(t *testing.T) {
	n := newNode(t)
	con := n.conversation(n.user("ann"))
	c := n.login("ann")
	for i := range 7 {
		kind := []string{"text", "custom:order"}[i%2]
		body := frame{"text": fmt.Sprint(i)}
		if got := c.ask(frame{"type": "post", "id": "p", "conversation": con, "event_type": kind, "body": body}); got["type"] != "ack" {
			t.Fatal(got)
		}
	}
	pages := func(f frame) (list []uint64, pages int) {
		f["type"], f["conversation"] = "history", con
		for {
			f["id"] = fmt.Sprint("h", pages)
			got := c.ask(f)
			if got["type"] != "ack" || got["head"] != 8.0 {
				t.Fatalf("%v gives %v", f, got)
			}
			events, _ := got["events"].([]any)
			for _, e := range events {
				list = append(list, uint64(e.(map[string]any)["sequence"].(float64)))
			}
			pages++
			if got["next"] == nil {
				return list, pages
			}
			f["cursor"] = got["next"]
		}
	}
	for _, tc := range []struct {
		name  string
		ask   frame
		want  []uint64
		pages int
	}{
		{"all at once", frame{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, 1},
		{"by three", frame{"page_size": 3}, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, 3},
		{"newest first", frame{"page_size": 5, "descending": true}, []uint64{8, 7, 6, 5, 4, 3, 2, 1}, 2},
		{"a range", frame{"start": 3, "end": 5}, []uint64{3, 4, 5}, 1},
		{"by type", frame{"types": []string{"text", "member:*"}}, []uint64{1, 2, 4, 6, 8}, 1},
		{"nothing", frame{"start": 9}, nil, 1},
	} {
		got, count := pages(tc.ask)
		if !slices.Equal(got, tc.want) || count > tc.pages+1 || count < tc.pages {
			t.Errorf("%s: %v in %d pages, want %v in %d", tc.name, got, count, tc.want, tc.pages)
		}
	}
	if got := c.ask(frame{"type": "history", "id": "x", "conversation": con, "cursor": "AAAA"}); got["type"] != "error" {
		t.Errorf("a made-up cursor: %v", got)
	}
}

// TestCreateHappensOnce repeats a create, also on another connection and after other creates: the
// same key gives the same conversation, another key or user another.
func TestCreateHappensOnce(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	n.user("bob")
	create := func(c *client, key string) string {
		t.Helper()
		f := frame{"type": "create_conversation", "id": "1", "client_id": key}
		got, _ := c.ask(f)["conversation"].(string)
		if !strings.HasPrefix(got, "CON-") {
			t.Fatalf("create %q: %q", key, got)
		}
		return got
	}
	a := n.login("ann")
	first := create(a, "k1")
	second := create(a, "k2")
	if first == second {
		t.Error("two keys made one conversation")
	}
	if again := create(n.login("ann"), "k1"); again != first {
		t.Errorf("the retry on another connection made %s, not %s", again, first)
	}
	if other := create(n.login("bob"), "k1"); other == first {
		t.Error("bob's key met ann's conversation")
	}
	if create(a, "") == create(a, "") {
		t.Error("creates without a key made one conversation")
	}
	long := a.ask(frame{"type": "create_conversation", "id": "2", "client_id": strings.Repeat("k", 129)})
	if long["code"] != "http:error:validation-fail" {
		t.Errorf("a key that is too long: %v", long)
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	n := newNode(t, tune{ws: func(o *ws.Options) { o.Subscriptions = 2 }})
	ann := n.user("ann")
	c := n.login("ann")
	var rooms []string
	for range 3 {
		rooms = append(rooms, n.conversation(ann))
	}
	for i, want := range []string{"ack", "ack", "error"} {
		if got := c.ask(frame{"type": "subscribe", "id": "1", "conversation": rooms[i]}); got["type"] != want {
			t.Errorf("subscription %d: %v", i, got)
		}
	}
	// Again to the same one is no third; and one that ends makes room.
	if got := c.ask(frame{"type": "subscribe", "id": "2", "conversation": rooms[0], "after": 0}); got["type"] != "ack" {
		t.Errorf("again: %v", got)
	}
	if got := c.ask(frame{"type": "unsubscribe", "id": "3", "conversation": rooms[1]}); got["type"] != "ack" {
		t.Errorf("unsubscribe: %v", got)
	}
	if got := c.ask(frame{"type": "subscribe", "id": "4", "conversation": rooms[2]}); got["type"] != "ack" {
		t.Errorf("after one ended: %v", got)
	}
}

func TestAnswersNameTheirRequest(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	c := n.login("ann")
	c.send(frame{"type": "ping", "id": strings.Repeat("i", 65)})
	if got := c.next("error"); got["id"] != nil || got["code"] != "http:error:validation-fail" {
		t.Errorf("an id that is too long: %v", got)
	}
	c.send(frame{"type": "dance"}) // fails without an id
	if got := c.next("error"); got["id"] != nil {
		t.Errorf("%v", got)
	}
	if got := c.ask(frame{"type": "hello", "id": "again", "token": n.token("ann", time.Hour)}); got["code"] != "session:invalid" {
		t.Errorf("a second hello: %v", got)
	}
	if code, _ := c.closed(); code != 4301 {
		t.Errorf("a second hello closes with %d", code)
	}
}

// TestAFloodIsCutOff sends a hundred thousand tiny frames: some are answered, then refused, and a
// client that does not listen loses its connection, no other.
func TestAFloodIsCutOff(t *testing.T) {
	const frames = 100_000
	n := newNode(t, tune{ws: func(o *ws.Options) { o.RefusalsMax = 50 }, limits: func(o *limit.Options) {
		o.Rates[limit.Connection] = limit.Rate{PerSecond: 1, Burst: 100}
	}})
	n.user("ann")
	bystander, flood := n.login("ann"), n.login("ann")
	var pongs, refused int
	var closed websocket.StatusCode
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			f, err := flood.read()
			if err != nil {
				closed = websocket.CloseStatus(err)
				return
			}
			switch f["type"] {
			case "pong":
				pongs++
			case "error":
				refused++
			}
		}
	})
	for range frames {
		if flood.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`)) != nil {
			break
		}
	}
	reader.Wait()
	if pongs < 100 || pongs > 200 || refused < 50 || closed != 4002 {
		t.Errorf("%d pongs, %d refusals, close %d", pongs, refused, closed)
	}
	if f := bystander.ask(frame{"type": "ping", "id": "1"}); f["type"] != "pong" {
		t.Errorf("another session of the same user: %v", f)
	}
}

// TestTokensCannotBeTriedForEver counts refused hellos by address. Once too many were refused, a
// good token is refused as well, with a code that says to come back.
func TestTokensCannotBeTriedForEver(t *testing.T) {
	n := newNode(t, tune{limits: func(o *limit.Options) { o.Rates[limit.Guess] = limit.Rate{PerSecond: 0.001, Burst: 3} }})
	n.user("ann")
	hello := func(token string) (websocket.StatusCode, []frame) {
		c := n.dial("parley.v1.json")
		c.send(frame{"type": "hello", "id": "1", "token": token})
		return c.closed()
	}
	good := n.login("ann") // good tokens cost nothing
	for i := range 3 {
		if code, errors := hello(n.token("ann", -time.Minute)); code != 4201 || errors[0]["code"] != "system:error:expired-token" {
			t.Errorf("guess %d: close %d, %v", i, code, errors)
		}
	}
	code, errors := hello(n.token("ann", time.Hour))
	if code != 4002 || errors[0]["code"] != "http:error:too-many-requests" || errors[0]["retry_after_ms"] == nil {
		t.Errorf("after three guesses: close %d, %v", code, errors)
	}
	if got := good.ask(frame{"type": "ping", "id": "1"}); got["type"] != "pong" {
		t.Errorf("who is in stays in: %v", got)
	}
}

// TestFramesOverTheLimitClose sends what the document says is closed: a frame of more than 64 KiB
// with 1009, and garbage in the protobuf subprotocol with 4300.
func TestFramesOverTheLimitClose(t *testing.T) {
	n := newNode(t)
	n.user("ann")
	for _, tc := range []struct {
		name        string
		subprotocol string
		kind        websocket.MessageType
		payload     string
		want        websocket.StatusCode
	}{
		{"too large", "parley.v1.json", websocket.MessageText, `{"type":"ping","id":"` + strings.Repeat("x", 70<<10) + `"}`, 1009},
		{"binary in JSON", "parley.v1.json", websocket.MessageBinary, `{"type":"ping"}`, 4300},
		{"text in protobuf", "parley.v1.proto", websocket.MessageText, `{"type":"ping"}`, 4300},
		{"garbage", "parley.v1.proto", websocket.MessageBinary, "\xff\xff\xff\xff", 4300},
		{"truncated", "parley.v1.proto", websocket.MessageBinary, "\x2a\x50abc", 4300},
	} {
		c := n.dial(tc.subprotocol)
		if err := c.conn.Write(t.Context(), tc.kind, []byte(tc.payload)); err != nil {
			t.Fatal(err)
		}
		for {
			_, _, err := c.conn.Read(t.Context())
			if err == nil {
				continue // the coded error before the close
			}
			if got := websocket.CloseStatus(err); got != tc.want {
				t.Errorf("%s: close %d, want %d (%v)", tc.name, got, tc.want, err)
			}
			break
		}
	}
}
