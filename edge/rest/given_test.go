package rest_test

import (
	"net/url"
	"strings"
	"testing"

	"parley/internal/guard"
)

// TestNamesOfAnyForm: a name that can be given can be found by it, in every generation that takes names, and
// control characters can not be given.
func TestNamesOfAnyForm(t *testing.T) {
	w := newWorld(t, settings{})
	for _, name := range []string{"a/b", "..", ".", "../users", `a\b`, "a b?c#d", "50%", "%2F", "ünï"} {
		escaped := strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
		usr := w.newUser(name)
		if got := w.call("GET", "/v0.3/users/"+escaped, w.admin(), nil).want(200); got.text("id") != usr {
			t.Errorf("%q: user %s, want %s", name, got.raw, usr)
		}
		con := w.newConversation(w.admin(), object{"name": name})
		if got := w.call("GET", "/beta/conversations/"+escaped, w.admin(), nil).want(200); got.text("uuid") != con {
			t.Errorf("%q: conversation %s, want %s", name, got.raw, con)
		}
		w.call("GET", "/v0.2/conversations/"+escaped+"/members", w.admin(), nil).want(200)
	}
	for _, path := range []string{"/v1/users", "/v0.3/users", "/v0.2/users", "/beta/users", "/v1/conversations", "/v0.3/conversations", "/beta2/conversations", "/v0.1/conversations"} {
		for _, name := range []string{"a\x00", "a\nb", "\x7f", "\u0085"} {
			if got := w.call("POST", path, w.admin(), object{"name": name}).refused(400, "http:error:validation-fail"); !strings.Contains(string(got.raw), "control characters") {
				t.Errorf("%s %q: %s", path, name, got.raw)
			}
		}
	}
	usr, con := w.newUser("plain"), w.newConversation(w.admin(), object{"name": "plain"})
	w.call("PATCH", "/v1/users/"+usr, w.admin(), object{"name": "pl\nain"}).refused(400, "http:error:validation-fail")
	w.call("PUT", "/v1/conversations/"+con, w.admin(), object{"name": "pl\nain"}).refused(400, "http:error:validation-fail")
	w.newUser("pl ain")
}

// TestASlashInANameGrantsNothing: a right to one level is none to the next, and a right to one name is none to
// another.
func TestASlashInANameGrantsNothing(t *testing.T) {
	w := newWorld(t, settings{})
	w.newUser("ann")
	w.newUser("ann/conversations")
	grant := func(path string) string {
		return w.app.token(t, object{"sub": "ann", "acl": object{"paths": object{path: object{}}}})
	}
	w.call("GET", "/v0.3/users/ann%2Fconversations", grant("/*/users/*"), nil).want(200)
	w.call("GET", "/v0.3/users/ann%2Fconversations", grant("/*/users/*/conversations"), nil).refused(403, "system:error:permission")
	w.call("GET", "/v0.3/users/ann%2Fconversations", grant("/*/users/ann/**"), nil).refused(403, "system:error:permission")
	w.call("GET", "/v0.3/users/ann/conversations", grant("/*/users/*"), nil).refused(403, "system:error:permission")
	w.newUser("ann%2Fconversations")
	w.call("GET", "/v0.3/users/ann%2Fconversations", grant("/*/users/ann%2Fconversations"), nil).want(200)
	w.call("GET", "/v0.3/users/ann%252Fconversations", grant("/*/users/ann%2Fconversations"), nil).refused(403, "system:error:permission")
	w.call("GET", "/v0.3/users/ann%252Fconversations", grant("/*/users/ann%252Fconversations"), nil).want(200)
}

// TestWebhooksThatCanNeverBeReached are refused when they are given, with the reason; names are looked up later.
func TestWebhooksThatCanNeverBeReached(t *testing.T) {
	o := guard.DefaultOptions()
	o.Allow = []string{"10.1.0.0/16"}
	targets, err := guard.New(o)
	must(t, err)
	w := newWorld(t, settings{targets: targets})
	w.newUser("ann")
	con := w.newConversation(w.admin(), object{})
	application := "/v2/applications/" + w.app.id
	event := func(address string) object {
		return object{"name": "x", "capabilities": object{"rtc": object{"webhooks": object{"event_url": object{"address": address}}}}}
	}
	old := func(address string) url.Values {
		return url.Values{"api_key": {apiKey}, "api_secret": {apiSecret}, "name": {"x"}, "event_url": {address}}
	}
	for address, why := range map[string]string{
		"javascript:alert(1)": "scheme", "gopher://example.com/": "scheme", "https://u:p@example.com/": "user name", "http://127.0.0.1:8080/": "127.0.0.1 is not a public address",
		"http://[::1]/": "not a public address", "http://10.2.0.1/": "not a public address", "http://169.254.169.254/": "not a public address",
		"http://2130706433/": "number", "http://example.com:22/": "port 22",
	} {
		callback := object{"callback": object{"url": address}}
		for _, a := range []*answer{
			w.call("POST", "/v1/conversations", w.admin(), callback), w.call("PUT", "/v1/conversations/"+con, w.admin(), callback),
			w.call("POST", "/v0.3/conversations", w.as("ann"), callback), w.call("PATCH", "/v0.3/conversations/"+con, w.admin(), callback),
			w.call("POST", "/v0.2/conversations", w.admin(), callback), w.call("PUT", "/beta/conversations/"+con, w.admin(), callback),
			w.call("POST", "/beta/conversations", w.admin(), url.Values{"callback.url": {address}}),
			w.operator("PUT", application, event(address)), w.operator("POST", "/v2/applications", event(address)),
			w.call("POST", "/v1/applications", "", old(address)),
		} {
			if a.refused(400, "http:error:validation-fail"); !strings.Contains(string(a.raw), why) && !strings.Contains(string(a.raw), "must be a valid uri") {
				t.Errorf("%s: %s", a.what, a.raw)
			}
		}
	}
	for _, address := range []string{"https://example.com/hook", "http://localhost:8080/", "http://10.1.2.3/hook", "http://93.184.216.34/"} {
		w.newConversation(w.admin(), object{"callback": object{"url": address}})
		w.operator("PUT", application, event(address)).want(200)
		w.call("POST", "/v1/applications", "", old(address)).want(201)
	}
	w.call("PUT", "/v1/conversations/"+con, w.admin(), object{"callback": object{"url": ""}}).want(200)
	told := w.call("POST", "/v1/conversations", w.admin(), object{"callback": object{"url": "http://127.0.0.1/"}})
	if told.text("invalid_parameters", 0, "name") != "callback.url" ||
		told.text("invalid_parameters", 0, "reason") != `"url" is not allowed as the target of a request: 127.0.0.1 is not a public address` {
		t.Error(string(told.raw))
	}
}

// TestNullIsAbsent: a member that is null is one that was not given, required ones too.
func TestNullIsAbsent(t *testing.T) {
	w := newWorld(t, settings{})
	usr := w.newUser("ann")
	con := w.newConversation(w.admin(), object{"name": "tea"})
	ann := w.join(con, usr)
	for _, c := range []struct {
		method, path string
		with         object // null
		without      object
		status       int
	}{
		{"POST", "/v1/users", object{"name": nil, "display_name": nil, "image_url": nil, "properties": nil, "channels": nil}, object{}, 201},
		{"POST", "/v1/users", object{"properties": object{"custom_data": nil}}, object{"properties": object{}}, 201},
		{"PATCH", "/v1/users/" + usr, object{"display_name": nil, "name": nil}, object{}, 200},
		{"POST", "/v1/conversations", object{"name": nil, "display_name": nil, "image_url": nil, "properties": nil, "numbers": nil, "callback": nil}, object{}, 201},
		{"POST", "/v1/conversations", object{"properties": object{"ttl": nil, "type": nil, "custom_sort_key": nil, "custom_data": nil}}, object{"properties": object{}}, 201},
		{"POST", "/v1/conversations", object{"callback": object{"url": nil, "event_mask": nil, "method": nil, "params": nil}}, object{"callback": object{}}, 201},
		{"PUT", "/v1/conversations/" + con, object{"display_name": nil, "image_url": nil, "properties": nil, "callback": nil}, object{}, 200},
		{"POST", "/v1/conversations/" + con + "/members", object{"state": nil, "user": object{"id": usr}}, object{"user": object{"id": usr}}, 400},
		{"POST", "/v1/conversations/" + con + "/members", object{"state": "joined", "user": nil}, object{"state": "joined"}, 400},
		{"PATCH", "/v1/conversations/" + con + "/members/" + ann, object{"state": nil}, object{}, 400},
		{"POST", "/v1/conversations/" + con + "/events", object{"type": nil}, object{}, 400},
		{"POST", "/v1/conversations/" + con + "/events", object{"type": "text", "body": nil}, object{"type": "text"}, 400},
		{"POST", "/v1/conversations/" + con + "/events", object{"type": "custom:x", "body": nil, "from": ann, "to": nil}, object{"type": "custom:x", "from": ann}, 201},
		{"PUT", "/v1/import/users/USR-aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", object{"name": nil}, object{}, 400},
	} {
		with, without := w.call(c.method, c.path, w.admin(), c.with), w.call(c.method, c.path, w.admin(), c.without)
		same := c.status != 400 || with.text("invalid_parameters", 0, "reason") == without.text("invalid_parameters", 0, "reason")
		if with.status != c.status || without.status != c.status || !same {
			t.Errorf("%s %s %v: %s\nwithout null: %s", c.method, c.path, c.with, with.raw, without.raw)
		}
	}
	for _, body := range []object{{"name": nil}, {}} {
		if a := w.operator("POST", "/v2/applications", body).refused(400, "http:error:validation-fail"); a.text("invalid_parameters", 0, "reason") != `"name" is required` {
			t.Errorf("%v: %s", body, a.raw)
		}
	}
	if kept := w.call("GET", "/v1/users/"+usr, w.admin(), nil).want(200); kept.text("name") != "ann" {
		t.Error(string(kept.raw))
	}
}
