package rest_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// The first steps of the old guides, as they were printed: no body, and forms with dotted keys.
func TestGettingStarted(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	conversation := w.call("POST", "/beta/conversations", admin, nil).want(200)
	con := conversation.text("id")
	if !strings.HasPrefix(con, "CON-") || !strings.HasSuffix(conversation.text("href"), "/conversations/"+con) {
		t.Errorf("created %s", conversation.raw)
	}
	usr := w.call("POST", "/beta/users", admin, url.Values{"name": {"ann"}, "display_name": {"Ann Example"}}).want(200).text("id")
	member := w.call("POST", "/beta/conversations/"+con+"/members", admin,
		url.Values{"action": {"join"}, "user_id": {usr}, "channel.type": {"app"}}).want(201)
	mem := member.text("id")
	if member.text("state") != "JOINED" || member.text("channel", "type") != "app" || member.at("initiator", "joined", "isSystem") != true {
		t.Errorf("member %s", member.raw)
	}
	posted := w.call("POST", "/v1/conversations/"+con+"/events", admin,
		object{"type": "text", "from": mem, "body": object{"text": "hello"}}).want(201)
	for path, want := range map[string]string{"id": "2", "type": "text", "from": mem} {
		if got := posted.text(path); got != want {
			t.Errorf("posted %s = %q, want %q", path, got, want)
		}
	}
	if posted.text("body", "text") != "hello" || posted.text("_embedded", "from_user", "name") != "ann" || posted.text("_embedded", "from_member", "id") != mem {
		t.Errorf("posted %s", posted.raw)
	}
	history := w.call("GET", "/v1/conversations/"+con+"/events", admin, nil).want(200)
	if n := len(history.list("_embedded")); n != 2 {
		t.Errorf("%d events, want member:joined and text: %s", n, history.raw)
	}
	if history.text("_embedded", 0, "type") != "member:joined" || history.text("_embedded", 1, "body", "text") != "hello" {
		t.Errorf("history %s", history.raw)
	}
	old := w.call("GET", "/v0.1/conversations/"+con+"/events?start_id=2&end_id=2", admin, nil).want(200)
	if len(old.list()) != 1 || old.text(0, "id") != "2" || old.text(0, "to") != "" {
		t.Errorf("old history %s", old.raw)
	}
	row := w.call("GET", "/beta/conversations/"+con+"/members", admin, nil).want(200)
	if row.text(0, "name") != mem || row.text(0, "user_name") != "ann" || row.text(0, "state") != "JOINED" {
		t.Errorf("member rows %s", row.raw)
	}
}

func TestMembersComeAndGo(t *testing.T) {
	w := newWorld(t, settings{})
	ann, bob := w.newUser("ann"), w.newUser("bob")
	con := w.newConversation(w.as("ann"), object{"name": "tea"})
	members := "/v1/conversations/" + con + "/members"
	w.join(con, ann)

	invited := w.call("POST", members, w.as("ann"), object{"state": "INVITED", "user": object{"name": "bob"}, "channel": object{"type": "app"}}).want(201)
	if invited.text("state") != "INVITED" || invited.text("invited_by") != "ann" || invited.text("_embedded", "user", "id") != bob {
		t.Errorf("invited %s", invited.raw)
	}
	mine := w.call("GET", members+"/me", w.as("bob"), nil).want(200)
	if mine.text("id") != invited.text("id") {
		t.Errorf("me %s", mine.raw)
	}
	joined := w.call("PATCH", members+"/me", w.as("bob"), object{"state": "joined"}).want(200)
	if joined.text("id") != invited.text("id") || joined.text("state") != "JOINED" || joined.at("initiator", "joined", "is_system") != false {
		t.Errorf("joined %s", joined.raw)
	}
	w.call("POST", members, w.admin(), object{"state": "joined", "user": object{"id": bob}}).
		refused(400, "conversation:error:member-already-joined")
	left := w.call("PATCH", members+"/"+joined.text("id"), w.as("ann"), object{"state": "left", "reason": object{"code": "1", "text": "late"}}).want(200)
	if left.text("state") != "LEFT" || left.text("reason", "text") != "late" {
		t.Errorf("left %s", left.raw)
	}
	if n := len(w.call("GET", members, w.as("ann"), nil).want(200).list("_embedded", "members")); n != 1 {
		t.Errorf("%d members are listed", n)
	}
	if n := len(w.call("GET", "/beta/conversations/tea/members", w.as("ann"), nil).want(200).list()); n != 2 {
		t.Errorf("%d members in the old list, which keeps those who left", n)
	}
	w.call("PATCH", members+"/"+left.text("id"), w.admin(), object{"state": "joined"}).refused(400, "conversation:error:invalid-member-state")
	again := w.join(con, bob)
	if again == left.text("id") {
		t.Error("a new membership has the old id")
	}
	w.call("DELETE", "/beta/conversations/"+con+"/members/"+again+"?reason_code=7&reason_text=bye", w.as("bob"), nil).want(200)
	gone := w.call("GET", members+"/"+again, w.admin(), nil).want(200)
	if gone.text("state") != "LEFT" || gone.text("reason", "code") != "7" {
		t.Errorf("gone %s", gone.raw)
	}
	w.call("GET", members+"/me", w.admin(), nil).refused(404, "conversation:error:member-not-found")
}

func TestEventsReceiptsAndDeletion(t *testing.T) {
	w := newWorld(t, settings{})
	ann, bob := w.newUser("ann"), w.newUser("bob")
	con := w.newConversation(w.as("ann"), object{})
	w.join(con, ann)
	bobs := w.join(con, bob)
	events := "/v1/conversations/" + con + "/events"
	hello := w.say(con, w.as("ann"), "hello").text("id")

	seen := w.call("POST", events, w.as("bob"), object{"type": "text:seen", "body": object{"event_id": hello}}).want(201)
	if seen.text("id") != "4" {
		t.Errorf("receipt %s", seen.raw)
	}
	read := w.call("GET", events+"/"+hello, w.as("ann"), nil).want(200)
	if read.text("state", "seen_by", bobs) == "" {
		t.Errorf("no receipt in %s", read.raw)
	}
	old := w.call("GET", "/beta/conversations/"+con+"/events/"+hello, w.as("ann"), nil).want(200)
	if old.text("state", "seen_by", bobs) == "" || old.text("conversation_id") != con || old.text("application_id") != w.app.id {
		t.Errorf("old form %s", old.raw)
	}
	typing := w.call("POST", events, w.as("bob"), object{"type": "text:typing:on", "body": object{"activity": 1}}).want(201)
	if typing.at("id") != nil || typing.text("timestamp") == "" {
		t.Errorf("typing %s", typing.raw)
	}
	w.call("POST", events, w.as("bob"), object{"type": "no:such", "body": object{}}).refused(400, "http:error:validation-fail")
	w.call("POST", events, w.as("bob"), object{"body": object{}}).refused(400, "http:error:validation-fail")
	w.call("DELETE", events+"/"+hello, w.as("bob"), nil).refused(403, "event:error:permission-denied")
	w.call("DELETE", events+"/"+hello, w.as("ann"), nil).want(204)
	deleted := w.call("GET", events+"/"+hello, w.as("ann"), nil).want(200)
	if deleted.text("type") != "text" || deleted.text("body", "timestamp", "deleted") == "" || deleted.at("body", "text") != nil {
		t.Errorf("deleted %s", deleted.raw)
	}
	for query, want := range map[string]string{
		"?event_type=member:*":               "1 2",
		"?event_type=text,text:seen":         "3 4",
		"?exclude_deleted_events=true":       "1 2 4 5",
		"?start_id=2&end_id=3":               "2 3",
		"?order=DESC&page_size=2":            "5 4",
		"?start_id=9":                        "",
		"?end_id=0":                          "",
		"?start_id=0&end_id=0&order=desc":    "",
		"?event_type=text&start_id=4":        "",
		"?order=desc&start_id=2&event_type=": "5 4 3 2",
	} {
		var ids []string
		for _, e := range w.call("GET", events+query, w.as("ann"), nil).want(200).list("_embedded") {
			ids = append(ids, e.(object)["id"].(json.Number).String())
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s gives %q, want %q", query, got, want)
		}
	}
	java := w.do(request{method: "GET", path: events, token: w.admin(), header: map[string]string{"User-Agent": "vonage-java-sdk/9.0 java/21"}}).want(200)
	if len(java.list("_embedded", "events")) != 5 {
		t.Errorf("java form %s", java.raw)
	}
}

func TestUsersAndNames(t *testing.T) {
	w := newWorld(t, settings{})
	made := w.call("POST", "/v1/users", w.admin(), object{"name": "ann", "display_name": "Ann", "image_url": "https://example.com/a.png",
		"properties": object{"custom_data": object{"k": 1}}}).want(201)
	ann := made.text("id")
	w.call("POST", "/v1/users", w.admin(), object{"name": "ann"}).refused(409, "user:error:duplicate-name")
	w.call("POST", "/beta/users", w.admin(), object{"name": "ann"}).refused(400, "user:error:duplicate-name")
	if own := w.call("GET", "/v1/users/me", w.as("ann"), nil).want(200); own.text("properties", "custom_data", "k") != "1" {
		t.Errorf("own profile %s", own.raw)
	}
	w.newUser("bob")
	foreign := w.call("GET", "/v1/users/"+ann, w.as("bob"), nil).want(200)
	if foreign.at("properties") != nil || foreign.text("display_name") != "Ann" || foreign.text("image_url") == "" {
		t.Errorf("another's profile %s", foreign.raw)
	}
	patched := w.call("PATCH", "/v1/users/"+ann, w.admin(), object{"display_name": "Anna"}).want(200)
	if patched.text("display_name") != "Anna" || patched.text("image_url") == "" || patched.text("properties", "custom_data", "k") != "1" {
		t.Errorf("patched %s", patched.raw)
	}
	if n := len(w.call("GET", "/v1/users?name=ann", w.admin(), nil).want(200).list("_embedded", "users")); n != 1 {
		t.Errorf("found by name: %d", n)
	}
	if n := len(w.call("GET", "/v1/users?name=nobody", w.admin(), nil).want(200).list("_embedded", "users")); n != 0 {
		t.Errorf("found nobody: %d", n)
	}
	token := w.as("ann")
	w.call("DELETE", "/v1/users/"+ann, w.admin(), nil).want(204)
	w.call("GET", "/v1/users/"+ann, w.admin(), nil).refused(404, "user:error:not-found")
	w.call("GET", "/v1/users/me", token, nil).refused(401, "system:error:invalid-token")
	w.newUser("ann") // the name is free at once
}

func TestConversationLife(t *testing.T) {
	w := newWorld(t, settings{})
	body := object{"name": "tea", "display_name": "Tea", "image_url": "https://example.com/t.png", "properties": object{"ttl": 60, "custom_data": object{"k": "v"}},
		"numbers": []object{{"type": "phone", "number": "447700900000"}}, "callback": object{"url": "https://example.com/hook", "method": "POST", "params": object{"applicationId": "x"}}}
	made := w.call("POST", "/v1/conversations", w.admin(), body).want(201)
	con := made.text("id")
	if made.text("state") != "ACTIVE" || made.text("sequence_number") != "0" || made.text("properties", "ttl") != "60" || made.at("callback") != nil {
		t.Errorf("made %s", made.raw)
	}
	w.call("POST", "/v1/conversations", w.admin(), object{"name": "tea"}).refused(409, "conversation:error:duplicate-name")
	w.call("POST", "/beta/conversations", w.admin(), object{"name": "tea"}).refused(400, "conversation:error:duplicate-name")
	changed := w.call("PUT", "/v1/conversations/"+con, w.admin(), object{"display_name": "More tea"}).want(200)
	if changed.text("display_name") != "More tea" || changed.text("name") != "tea" || changed.text("image_url") == "" || changed.text("properties", "ttl") != "60" {
		t.Errorf("changed %s", changed.raw)
	}
	old := w.call("GET", "/beta/conversations/tea", w.admin(), nil).want(200)
	if old.text("uuid") != con || len(old.list("members")) != 0 {
		t.Errorf("old %s", old.raw)
	}
	listed := w.call("GET", "/beta/conversations?record_index=0", w.admin(), nil).want(200)
	if listed.text("count") != "1" || listed.text("_embedded", "conversations", 0, "uuid") != con {
		t.Errorf("listed %s", listed.raw)
	}
	for query, want := range map[string]int{"?date_start=2018-01-01+10:00:00": 1, "?date_start=2100-01-01": 0, "?date_end=2018-01-01T10:00:00Z": 0} {
		if n := len(w.call("GET", "/v1/conversations"+query, w.admin(), nil).want(200).list("_embedded", "conversations")); n != want {
			t.Errorf("%s lists %d, want %d", query, n, want)
		}
	}
	w.call("DELETE", "/v1/conversations/"+con, w.admin(), nil).want(204)
	w.call("GET", "/v1/conversations/"+con, w.admin(), nil).refused(404, "conversation:error:not-found")
	w.newConversation(w.admin(), object{"name": "tea"}) // the name is free at once
	if name := w.call("POST", "/v1/conversations", w.admin(), nil).want(201).text("name"); !strings.HasPrefix(name, "NAM-") {
		t.Errorf("generated name %q", name)
	}
}

func TestUserListsItsConversationsAndSessions(t *testing.T) {
	w := newWorld(t, settings{})
	ann := w.newUser("ann")
	con := w.newConversation(w.admin(), object{"name": "tea"})
	mem := w.join(con, ann)
	w.say(con, w.as("ann"), "hi")
	list := w.call("GET", "/v1/users/"+ann+"/conversations?state=joined", w.as("ann"), nil).want(200)
	item := func(path ...any) string { return list.text(append([]any{"_embedded", "conversations", 0}, path...)...) }
	if item("id") != con || item("_embedded", "id") != mem || item("_embedded", "state") != "JOINED" || item("sequence_number") != "2" {
		t.Errorf("list %s", list.raw)
	}
	old := w.call("GET", "/beta/users/"+ann+"/conversations", w.as("ann"), nil).want(200)
	if old.text(0, "id") != con || old.text(0, "member_id") != mem || old.text(0, "sequence_number") != "2" {
		t.Errorf("old list %s", old.raw)
	}
	w.sessions[ann] = []string{"SES-2", "SES-1", "SES-3"}
	page := w.call("GET", "/v1/users/me/sessions?page_size=2", w.as("ann"), nil).want(200)
	if len(page.list("_embedded", "sessions")) != 2 || page.text("_embedded", "sessions", 0, "id") != "SES-1" || page.text("_embedded", "sessions", 0, "_embedded", "user", "name") != "ann" ||
		page.text("_embedded", "sessions", 0, "_embedded", "api_key") != w.app.id {
		t.Errorf("sessions %s", page.raw)
	}
	rest := w.call("GET", page.text("_links", "next", "href"), w.as("ann"), nil).want(200)
	if len(rest.list("_embedded", "sessions")) != 1 || rest.text("_embedded", "sessions", 0, "id") != "SES-3" {
		t.Errorf("rest of the sessions %s", rest.raw)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t, settings{})
	send := func(path string, body any, key string) *answer {
		return w.do(request{method: "POST", path: path, token: w.admin(), body: body, header: map[string]string{"Idempotency-Key": key}})
	}
	first := send("/v1/conversations", object{"display_name": "x"}, "k1").want(201)
	if again := send("/v1/conversations", object{"display_name": "x"}, "k1").want(201); again.text("id") != first.text("id") {
		t.Errorf("another conversation: %s", again.raw)
	}
	if other := send("/v1/conversations", object{}, "k2").want(201); other.text("id") == first.text("id") {
		t.Errorf("the same conversation under another key")
	}
	ann := send("/v1/users", object{"name": "ann"}, "k1").want(201).text("id")
	if again := send("/v1/users", object{"name": "ann"}, "k1").want(201); again.text("id") != ann {
		t.Errorf("another user: %s", again.raw)
	}
	con := first.text("id")
	body := object{"state": "joined", "user": object{"id": ann}}
	mem := send("/v1/conversations/"+con+"/members", body, "k1").want(201).text("id")
	if again := send("/v1/conversations/"+con+"/members", body, "k1").want(201); again.text("id") != mem {
		t.Errorf("another member: %s", again.raw)
	}
	text := object{"type": "text", "from": mem, "body": object{"text": "once"}}
	one := send("/v1/conversations/"+con+"/events", text, "e1").want(201)
	if two := send("/v1/conversations/"+con+"/events", text, "e1").want(201); two.text("id") != one.text("id") || two.text("body", "text") != "once" {
		t.Errorf("another event: %s", two.raw)
	}
	send("/v1/conversations", object{}, strings.Repeat("k", 129)).refused(400, "http:error:validation-fail")
}

// TestLeavingByAction: in the generations of the old command line who is named, or asks, leaves by the request that
// else joins.
func TestLeavingByAction(t *testing.T) {
	w := newWorld(t, settings{})
	ann, bob := w.newUser("ann"), w.newUser("bob")
	w.newUser("eve")
	con := w.newConversation(w.as("ann"), object{"name": "tea"})
	member := w.join(con, ann)
	for _, generation := range []string{"beta", "v0.2"} {
		path := "/" + generation + "/conversations/" + con + "/members"
		w.call("POST", path, w.as("eve"), object{"action": "leave", "user_name": "ann"}).refused(404, "conversation:error:not-found")
		w.call("POST", path, w.as("eve"), object{"action": "leave", "member_id": member}).refused(404, "conversation:error:not-found")
		w.call("POST", path, w.as("ann"), object{"action": "leave", "user_name": "eve"}).refused(404, "conversation:error:member-not-found")
		w.call("POST", path, w.admin(), object{"action": "leave"}).refused(400, "http:error:validation-fail")
		for _, c := range []struct {
			token string
			body  any
		}{
			{w.admin(), url.Values{"action": {"leave"}, "user_id": {bob}}}, {w.as("bob"), object{"action": "LEAVE"}}, {w.as("ann"), object{"action": "leave", "user_name": "bob"}},
		} {
			joined := w.join(con, bob)
			if left := w.call("POST", path, c.token, c.body).want(201); left.text("id") != joined || left.text("state") != "LEFT" {
				t.Errorf("%v at %s: %s", c.body, path, left.raw)
			}
		}
		w.call("POST", path, w.as("bob"), object{"action": "leave"}).refused(400, "conversation:error:invalid-member-state")
	}
	for _, generation := range []string{"v0.3", "v1"} {
		w.call("POST", "/"+generation+"/conversations/"+con+"/members", w.as("ann"), object{"action": "leave"}).refused(400, "http:error:validation-fail")
	}
}
