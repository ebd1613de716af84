package rest_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// numbersOf are the event numbers of a plain array.
func numbersOf(a *answer) string {
	a.t.Helper()
	var all []string
	for _, e := range a.list() {
		all = append(all, e.(object)["id"].(json.Number).String())
	}
	return strings.Join(all, " ")
}

func countTo(low, high int) string {
	var all []string
	for i := low; i <= high; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return strings.Join(all, " ")
}

// A history longer than one step arrives whole, in order, in every form of the question.
func TestLongHistory(t *testing.T) {
	w := newWorld(t, settings{})
	ann := w.newUser("ann")
	con := w.newConversation(w.admin(), object{})
	mem := w.join(con, ann)
	const last = 320
	for i := 2; i <= last; i++ {
		kind := "text"
		if i == last {
			kind = "custom:rare"
		}
		w.call("POST", "/v1/conversations/"+con+"/events", w.admin(), object{"type": kind, "from": mem, "body": object{"text": "x"}}).want(201)
	}
	events := "/beta/conversations/" + con + "/events"
	whole := w.call("GET", events, w.as("ann"), nil).want(200)
	if got := numbersOf(whole); got != countTo(1, last) {
		t.Errorf("the whole history is %s", got)
	}
	if whole.header.Get("Content-Length") != "" {
		t.Error("a long history is held whole before it is sent")
	}
	for query, want := range map[string]string{
		"?start_id=101&end_id=305":          countTo(101, 305),
		"?start_id=300":                     countTo(300, last),
		"?end_id=0":                         "",
		"?event_type=custom:*":              fmt.Sprint(last),
		"?event_type=image":                 "",
		"?start_id=318&event_type=text,foo": "318 319",
	} {
		if got := numbersOf(w.call("GET", events+query, w.as("ann"), nil).want(200)); got != want {
			t.Errorf("%s gives %q, want %q", query, got, want)
		}
	}
	if head := w.call("HEAD", events, w.as("ann"), nil); head.status != 200 || len(head.raw) != 0 {
		t.Errorf("HEAD: %d, %d bytes", head.status, len(head.raw))
	}
	w.newUser("stranger")
	w.call("GET", events, w.as("stranger"), nil).refused(404, "conversation:error:not-found")
}

// All members are listed, however many there are and whether they left.
func TestManyMembers(t *testing.T) {
	w := newWorld(t, settings{})
	con := w.newConversation(w.admin(), object{})
	// Together they are more than the cluster gives in one answer.
	media := object{"about": strings.Repeat("x", 8<<10)}
	var members []string
	for i := range 105 {
		user := w.newUser(fmt.Sprintf("user %d", i))
		joined := w.call("POST", "/v0.3/conversations/"+con+"/members", w.admin(), object{"state": "joined", "user": object{"id": user}, "media": media}).want(201)
		members = append(members, joined.text("id"))
	}
	w.call("DELETE", "/beta/conversations/"+con+"/members/"+members[7], w.admin(), nil).want(200)
	list := w.call("GET", "/beta/conversations/"+con+"/members", w.admin(), nil).want(200)
	for i, m := range list.list() {
		if m.(object)["name"] != members[i] {
			t.Fatalf("member %d is %v, want %s", i, m, members[i])
		}
	}
	if n := len(list.list()); n != len(members) || list.text(7, "state") != "LEFT" {
		t.Errorf("%d members, the one who left is %s", n, list.text(7, "state"))
	}
	if n := len(w.call("GET", "/beta/conversations/"+con, w.admin(), nil).want(200).list("members")); n != len(members) {
		t.Errorf("the conversation has %d members", n)
	}
}

func TestConversationsByRecordIndex(t *testing.T) {
	w := newWorld(t, settings{})
	const count = 123
	var cons []string
	for range count {
		cons = append(cons, w.newConversation(w.admin(), object{}))
	}
	for _, tc := range []struct {
		query     string
		low, high int
	}{
		{"", 0, 10}, {"?record_index=0&page_size=100", 0, 100}, {"?record_index=95&page_size=20", 95, 115},
		{"?record_index=120", 120, count}, {"?record_index=500", count, count},
	} {
		page := w.call("GET", "/beta/conversations"+tc.query, w.admin(), nil).want(200)
		var got []string
		for _, item := range page.list("_embedded", "conversations") {
			got = append(got, item.(object)["uuid"].(string))
		}
		if strings.Join(got, " ") != strings.Join(cons[tc.low:tc.high], " ") || page.text("count") != fmt.Sprint(count) {
			t.Errorf("%s: %d items, count %s", tc.query, len(got), page.text("count"))
		}
	}
	down := w.call("GET", "/beta/conversations?order=DESC&page_size=1", w.admin(), nil).want(200)
	if down.text("_embedded", "conversations", 0, "uuid") != cons[count-1] {
		t.Errorf("the newest is %s", down.raw)
	}
}

// A list that goes on for long behind the page is not counted to its end.
func TestCountOfALongList(t *testing.T) {
	w := newWorld(t, settings{})
	const count = 350
	for range count {
		w.newConversation(w.admin(), object{})
	}
	page := w.call("GET", "/beta/conversations", w.admin(), nil).want(200)
	if n, err := strconv.Atoi(page.text("count")); err != nil || n < 210 || n >= count {
		t.Errorf("count %s", page.text("count"))
	}
	last := w.call("GET", "/beta/conversations?record_index=300&page_size=100", w.admin(), nil).want(200)
	if len(last.list("_embedded", "conversations")) != 50 || last.text("count") != strconv.Itoa(count) {
		t.Errorf("the last page has %d, count %s", len(last.list("_embedded", "conversations")), last.text("count"))
	}
}

// A session is refreshed with the token that the request was sent with, by its own user alone.
func TestSessionRefresh(t *testing.T) {
	w := newWorld(t, settings{})
	ann := w.newUser("ann")
	w.newUser("bob")
	w.sessions[ann] = []string{"SES-1"}
	for _, prefix := range []string{"/beta2", "/v0.2", "/v0.3"} {
		got := w.call("PUT", prefix+"/sessions/SES-1", w.as("ann"), nil).want(200)
		if got.text("session_id") != "SES-1" || got.text("user_id") != ann {
			t.Errorf("refreshed %s", got.raw)
		}
		w.call("PUT", prefix+"/sessions/SES-1", w.as("bob"), nil).refused(404, "session:error:not-found")
		w.call("PUT", prefix+"/sessions/SES-1", w.admin(), nil).refused(404, "session:error:not-found")
	}
	w.call("PUT", "/v0.2/sessions/SES-1", w.as("ann"), `""`).want(200) // as @vonage/client-sdk does
	w.call("PUT", "/v0.2/sessions/SES-1", w.app.token(t, object{"sub": "ann", "iat": 1, "exp": 2}), nil).refused(401, "system:error:expired-token")
}

// What tells and changes nothing asks for a good token, but for no path in it.
func TestTokensWithoutThePath(t *testing.T) {
	w := newWorld(t, settings{})
	w.newUser("ann")
	chat := w.app.token(t, object{"sub": "ann", "acl": object{"paths": object{"/*/users/**": object{}, "/*/conversations/**": object{}}}})
	w.call("POST", "/v2/rtc/metrics", chat, object{"sessionId": "SES-1", "metrics": []object{{"name": "x"}}}).want(200)
	w.call("POST", "/v2/rtc/metrics", "", nil).refused(401, "system:error:missing-token")
	places := w.call("GET", "/v0.3/discovery/api", chat, nil).want(200)
	if places.text("parley", "endpoint") != w.url || places.text("parley", "ws") != "ws"+strings.TrimPrefix(w.url, "http") {
		t.Errorf("places %s", places.raw)
	}
	w.call("GET", "/v0.3/legs", chat, nil).refused(403, "system:error:permission")
}

// The group of chat events and a wish for types narrow each other.
func TestChatEvents(t *testing.T) {
	w := newWorld(t, settings{})
	ann := w.newUser("ann")
	con := w.newConversation(w.admin(), object{})
	mem := w.join(con, ann) // 1
	for _, e := range []object{
		{"type": "text", "body": object{"text": "old"}},                              // 2
		{"type": "message", "body": object{"message_type": "text", "text": "new"}},   // 3
		{"type": "custom:tea", "body": object{}},                                     // 4
		{"type": "message", "body": object{"message_type": "text", "text": "wrong"}}, // 5
	} {
		e["from"] = mem
		w.call("POST", "/v0.3/conversations/"+con+"/events", w.admin(), e).want(201)
	}
	w.call("DELETE", "/v0.3/conversations/"+con+"/events/5", w.as("ann"), nil).want(200) // 6
	for query, want := range map[string]string{
		"":                              "1 2 3 4 5 6",
		"?filter_group_type=ChatEvents": "1 2 3 4 5 6",
		"?filter_group_type=chatevents&filter_group_version=3&exclude_deleted_events=true": "1 2 3 4 6",
		"?filter_group_type=ChatEvents&event_type=message,text":                            "2 3 5",
		"?filter_group_type=ChatEvents&event_type=member:*":                                "1",
		"?filter_group_type=ChatEvents&event_type=custom:tea":                              "4",
		"?filter_group_type=ChatEvents&event_type=*":                                       "1 2 3 4 5 6",
		"?filter_group_type=ChatEvents&event_type=text":                                    "2",
	} {
		page := w.call("GET", "/v0.3/conversations/"+con+"/events"+query, w.as("ann"), nil).want(200)
		if got := strings.Join(ids(page, "events"), " "); got != want {
			t.Errorf("%s gives %q, want %q", query, got, want)
		}
	}
	// What an older client wrote is told as the message that says the same.
	page := w.call("GET", "/v0.3/conversations/"+con+"/events?filter_group_type=ChatEvents", w.as("ann"), nil).want(200)
	if kind, text := page.text("_embedded", "events", 1, "type"), page.text("_embedded", "events", 1, "body", "text"); kind != "message" || text != "old" {
		t.Errorf("a text is told as %s %q", kind, text)
	}
	if body := page.at("_embedded", "events", 4, "body").(object); body["message_type"] != "text" || body["text"] != "" || body["timestamp"] == nil {
		t.Errorf("a deleted message is told as %v", body)
	}

	// They stop at what they can not read: it is not told, and the walk goes on behind it.
	for _, body := range []object{
		{"message_type": "random"}, // 7
		{"message_type": "location", "location": object{"latitude": 51.5, "longitude": "-0.1"}}, // 8
	} {
		w.call("POST", "/v0.3/conversations/"+con+"/events", w.admin(), object{"type": "message", "from": mem, "body": body}).want(201)
	}
	walk := "/v0.3/conversations/" + con + "/events?filter_group_type=ChatEvents&page_size=1&start_id=7"
	page = w.call("GET", walk, w.as("ann"), nil).want(200)
	if told := page.list("_embedded", "events"); len(told) != 0 {
		t.Errorf("told %v", told)
	}
	page = w.call("GET", page.text("_links", "next", "href"), w.as("ann"), nil).want(200)
	if got := page.text("_embedded", "events", 0, "body", "location", "latitude"); got != "51.5" {
		t.Errorf("a place is told as %s", page.raw)
	}
	if got := page.at("_embedded", "events", 0, "body", "location", "latitude"); got != any("51.5") {
		t.Errorf("a coordinate is told as %v", got)
	}
}

// The calls that everybody begins with have examples that can be copied.
func TestFirstCallsHaveExamples(t *testing.T) {
	w := newWorld(t, settings{})
	spec := w.call("GET", "/openapi.json", "", nil).want(200)
	for _, path := range []string{"/beta/conversations", "/beta/users", "/beta/conversations/{conversation}/members", "/v1/image"} {
		if sample := spec.text("paths", path, "post", "x-codeSamples", 0, "source"); !strings.HasPrefix(sample, "curl ") {
			t.Errorf("POST %s has the example %q", path, sample)
		}
	}
	var tags []string
	for _, tag := range spec.list("tags") {
		tags = append(tags, tag.(object)["name"].(string))
	}
	if got := strings.Join(tags, " "); got != "v1 v0.3 v0.2 beta v2 operator" {
		t.Errorf("generations described: %s", got)
	}
}
