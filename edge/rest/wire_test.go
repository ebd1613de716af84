package rest_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"parley/edge/limit"
	"parley/edge/rest"
)

func TestPagesWalkBothWays(t *testing.T) {
	w := newWorld(t, settings{})
	const count = 23
	con := w.newConversation(w.admin(), object{})
	var cons, users, members, events []string
	for i := range count {
		users = append(users, w.newUser(fmt.Sprintf("user %02d", i)))
		members = append(members, w.join(con, users[i]))
		events = append(events, fmt.Sprint(i+1)) // each join is an event
	}
	cons = append(cons, con)
	for range count - 1 {
		cons = append(cons, w.newConversation(w.admin(), object{}))
	}
	for _, tc := range []struct {
		path string
		kind string
		want []string
	}{
		{"/v1/conversations", "conversations", cons},
		{"/v1/users", "users", users},
		{"/v1/conversations/" + con + "/members", "members", members},
		{"/v1/conversations/" + con + "/events", "", events},
		{"/v0.3/conversations", "conversations", cons},
		{"/v0.3/conversations/" + con + "/members", "members", members},
		{"/v0.3/conversations/" + con + "/events", "data.events", events},
		{"/beta2/users", "data.users", users},
		{"/v0.2/conversations/" + con + "/events", "data.events", events},
	} {
		for _, order := range []string{"asc", "DESC"} {
			want := append([]string(nil), tc.want...)
			if order == "DESC" {
				for i := range len(want) / 2 {
					want[i], want[len(want)-1-i] = want[len(want)-1-i], want[i]
				}
			}
			for _, size := range []int{1, 7, 23, 100} {
				t.Run(fmt.Sprintf("%s %s by %d", tc.kind, order, size), func(t *testing.T) {
					w.walk(t, fmt.Sprintf("%s?page_size=%d&order=%s&cursor=", tc.path, size, order), tc.kind, want, size)
				})
			}
		}
	}
}

// walk follows next to the end and prev back to the beginning, and wants the same pages.
func (w *world) walk(t *testing.T, path, kind string, want []string, size int) {
	t.Helper()
	var pages [][]string
	for href, before := path, false; ; before = true {
		page := w.call("GET", href, w.admin(), nil).want(200)
		if (page.at("_links", "prev") != nil) != before {
			t.Fatalf("%s: prev = %v", href, page.at("_links", "prev"))
		}
		pages = append(pages, ids(page, kind))
		if href = page.text("_links", "next", "href"); href == "" {
			last := page
			for i := len(pages) - 2; i >= 0; i-- {
				last = w.call("GET", last.text("_links", "prev", "href"), w.admin(), nil).want(200)
				if got := ids(last, kind); strings.Join(got, " ") != strings.Join(pages[i], " ") {
					t.Fatalf("page %d backwards = %v, want %v", i, got, pages[i])
				}
			}
			if last.at("_links", "prev") != nil {
				t.Errorf("the first page has a prev: %s", last.raw)
			}
			break
		}
		u, err := url.Parse(href)
		if err != nil || !u.IsAbs() || strings.HasPrefix(u.RawQuery, "cursor") || u.Query().Get("cursor") == "" {
			t.Fatalf("next = %s", href)
		}
	}
	var got []string
	for i, p := range pages {
		got = append(got, p...)
		if i < len(pages)-1 && len(p) != size {
			t.Errorf("page %d has %d items", i, len(p))
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("walked %v\nwant %v", got, want)
	}
}

// TestWhatWasReadCanBeSentBack: a client that changes something in what it has read sends the rest as it is.
func TestWhatWasReadCanBeSentBack(t *testing.T) {
	w := newWorld(t, settings{})
	for _, path := range []string{
		"/v1/users/" + w.newUser("ann"), "/v1/conversations/" + w.newConversation(w.admin(), object{"display_name": "Tea"}),
	} {
		method := "PATCH"
		if strings.Contains(path, "conversations") {
			method = "PUT"
		}
		read := w.call("GET", path, w.admin(), nil).want(200).at().(object)
		read["display_name"] = "Changed"
		if got := w.call(method, path, w.admin(), read).want(200).text("display_name"); got != "Changed" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestAPageBackwardsIsWhole: what is told beside the items of a page goes with them when it is turned round.
func TestAPageBackwardsIsWhole(t *testing.T) {
	w := newWorld(t, settings{})
	ann := w.newUser("ann")
	heads := map[string]string{}
	for i := range 5 {
		con := w.newConversation(w.admin(), object{})
		w.join(con, ann)
		for range i {
			w.say(con, w.as("ann"), "x")
		}
		heads[con] = fmt.Sprint(i + 1)
	}
	for _, tc := range []struct{ path, kind string }{
		{"/v1/users/", "conversations"}, {"/v0.3/users/", "conversations"}, {"/v0.2/users/", "data.conversations"},
	} {
		page := w.call("GET", tc.path+ann+"/conversations?page_size=3", w.as("ann"), nil).want(200)
		page = w.call("GET", page.text("_links", "next", "href"), w.as("ann"), nil).want(200)
		page = w.call("GET", page.text("_links", "prev", "href"), w.as("ann"), nil).want(200)
		path := []any{"_embedded"}
		for name := range strings.SplitSeq(tc.kind, ".") {
			path = append(path, name)
		}
		for i, con := range ids(page, tc.kind) {
			if got := page.text(append(slices.Clone(path), i, "sequence_number")...); got != heads[con] {
				t.Errorf("%s: conversation %d of the page has the sequence number %s, want %s", tc.path, i, got, heads[con])
			}
		}
	}
}

func ids(page *answer, kind string) []string {
	path := []any{"_embedded"}
	for name := range strings.SplitSeq(kind, ".") {
		if name != "" {
			path = append(path, name)
		}
	}
	list := page.list(path...)
	out := make([]string, len(list))
	for i, item := range list {
		out[i] = fmt.Sprint(item.(object)["id"])
	}
	return out
}

func TestLinksAreThoseOfTheClient(t *testing.T) {
	w := newWorld(t, settings{})
	w.newUser("ann")
	w.newUser("bob")
	page := w.do(request{method: "GET", path: "/v1/users?page_size=1", token: w.admin(), header: map[string]string{"Host": "chat.example.com:8443", "X-Forwarded-Proto": "https"}}).want(200)
	if next := page.text("_links", "next", "href"); !strings.HasPrefix(next, "https://chat.example.com:8443/v1/users?order=asc&page_size=1&cursor=") {
		t.Errorf("next = %s", next)
	}
	filtered := w.call("GET", "/v1/users?name=ann&x=y", w.admin(), nil).want(200)
	if self := filtered.text("_links", "self", "href"); self != w.url+"/v1/users?order=asc&page_size=10&name=ann" {
		t.Errorf("self = %s", self)
	}
	odd := w.do(request{method: "GET", path: "/v1/users?page_size=1", token: w.admin(), header: map[string]string{"X-Forwarded-Proto": "javascript"}}).want(200)
	if next := odd.text("_links", "next", "href"); !strings.HasPrefix(next, "http://") {
		t.Errorf("next = %s", next)
	}
	empty := newWorld(t, settings{}).call("GET", "/v1/users", w.admin(), nil)
	if empty.status != 401 {
		t.Errorf("another cluster knows the application: %d", empty.status)
	}
}

func TestRejectedInputIsNamed(t *testing.T) {
	w := newWorld(t, settings{})
	ann := w.newUser("ann")
	con := w.newConversation(w.admin(), object{})
	long := strings.Repeat("x", 101)
	for _, tc := range []struct {
		method, path string
		body         any
		field        string
		reason       string
	}{
		{"GET", "/v1/users?page_size=x", nil, "page_size", `"page_size" must be a number`},
		{"GET", "/v1/users?page_size=0", nil, "page_size", `"page_size" must be greater than or equal to 1`},
		{"GET", "/v1/users?page_size=101", nil, "page_size", `"page_size" must be less than or equal to 100`},
		{"GET", "/v1/users?page_size=1.5", nil, "page_size", `"page_size" must be an integer`},
		{"GET", "/v1/users?order=up", nil, "order", `"order" must be one of [asc, desc]`},
		{"GET", "/v1/users?cursor=zz", nil, "cursor", `"cursor" must be a cursor of this list`},
		{"GET", "/v1/conversations?date_start=soon", nil, "date_start", `"date_start" must be a valid ISO 8601 date`},
		{"POST", "/v1/users", object{"name": ""}, "name", `"name" is not allowed to be empty`},
		{"POST", "/v1/users", object{"name": 5}, "name", `"name" must be a string`},
		{"POST", "/v1/users", object{"name": long}, "name", `"name" length must be less than or equal to 100 characters long`},
		{"POST", "/v1/users", object{"display_name": long}, "display_name", `"display_name" length must be less than or equal to 50 characters long`},
		{"POST", "/v1/users", object{"display_name": ""}, "display_name", `"display_name" is not allowed to be empty`},
		{"POST", "/v1/users", object{"image_url": "no uri"}, "image_url", `"image_url" must be a valid uri`},
		{"POST", "/v1/users", object{"strange": 1}, "strange", `"strange" is not allowed`},
		{"POST", "/v1/users", object{"properties": 1}, "properties", `"properties" must be of type object`},
		{"PATCH", "/v1/users/" + ann, object{"originating_session": "SES-1"}, "originating_session", `"originating_session" is not allowed`},
		{"POST", "/v1/conversations", object{"properties": object{"ttl": -1}}, "properties.ttl", `"ttl" must be greater than or equal to 0`},
		{"POST", "/v1/conversations", object{"properties": object{"ttl": "x"}}, "properties.ttl", `"ttl" must be a number`},
		{"POST", "/v1/conversations", object{"properties": object{"ttl": 1e300}}, "properties.ttl", `"ttl" must be a safe number`},
		{"POST", "/v1/conversations", object{"members": 1}, "members", `"members" is not allowed`},
		{"POST", "/v1/conversations", "[]", "value", `"value" must be of type object`},
		{"POST", "/v1/conversations", "null", "value", `"value" must be of type object`},
		{"POST", "/v1/conversations/" + con + "/members", object{"state": "gone", "user": object{"id": ann}}, "state", `"state" must be one of [invited, joined]`},
		{"POST", "/v1/conversations/" + con + "/members", object{"user": object{"id": ann}}, "state", `"state" is required`},
		{"POST", "/v1/conversations/" + con + "/members", object{"state": "joined"}, "user", `"user" is required`},
		{"POST", "/v1/conversations/" + con + "/events", object{"body": object{}}, "type", `"type" is required`},
		{"POST", "/v1/conversations/" + con + "/events", object{"type": "text", "body": "x"}, "body", `"body" must be of type object`},
	} {
		got := w.call(tc.method, tc.path, w.admin(), tc.body).refused(400, "http:error:validation-fail")
		found := false
		for _, f := range got.list("invalid_parameters") {
			found = found || f.(object)["name"] == tc.field && f.(object)["reason"] == tc.reason
		}
		if !found {
			t.Errorf("%s %s %v: want %s: %s in %s", tc.method, tc.path, tc.body, tc.field, tc.reason, got.raw)
		}
	}
	two := w.call("POST", "/v1/users", w.admin(), object{"name": 5, "strange": 1}).refused(400, "http:error:validation-fail")
	if n := len(two.list("invalid_parameters")); n != 2 {
		t.Errorf("%d of 2 faults are told: %s", n, two.raw)
	}
	old := w.call("POST", "/beta/users", w.admin(), object{"name": ""}).refused(400, "http:error:validation-fail")
	if old.text("validation", "name", 0) != `"name" is not allowed to be empty` || old.at("title") != nil || old.text("description") == "" {
		t.Errorf("old form %s", old.raw)
	}
	w.call("POST", "/beta/conversations", w.admin(), object{"originating_session": "SES-1", "properties": object{"ttl": "60"}}).want(200)
}

func TestErrorForms(t *testing.T) {
	w := newWorld(t, settings{})
	got := w.call("GET", "/v1/conversations/CON-0de7a7b5-1f8e-4c53-9d4b-6f6f6a3e9aff", w.admin(), nil).refused(404, "conversation:error:not-found")
	if got.text("type") != "https://developer.nexmo.com/api/conversation#conversation:error:not-found" || got.text("title") == "" || got.text("detail") == "" ||
		!regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got.text("instance")) {
		t.Errorf("problem %s", got.raw)
	}
	old := w.call("GET", "/v0.1/conversations/nothing", w.admin(), nil).refused(404, "conversation:error:not-found")
	if old.at("title") != nil || old.text("description") == "" {
		t.Errorf("old form %s", old.raw)
	}
	for _, tc := range []struct {
		method, path, code string
		status             int
	}{
		{"GET", "/", "http:error:not-found", 404}, {"GET", "/v1", "http:error:not-found", 404}, {"GET", "/v1/", "http:error:not-found", 404},
		{"GET", "/v7/users", "http:error:not-found", 404}, {"GET", "/beta/nothing", "http:error:not-found", 404},
		{"DELETE", "/v1/users", "http:error:method-not-allowed", 405}, {"PUT", "/v1/conversations", "http:error:method-not-allowed", 405},
		{"TRACE", "/v1/users", "http:error:method-not-allowed", 405}, {"PATCH", "/v2/applications", "http:error:method-not-allowed", 405},
		{"GET", "/v1/users//", "http:error:not-found", 404}, {"GET", "/v1/users/", "http:error:not-found", 404}, {"GET", "/v1/./users", "http:error:not-found", 404},
		{"GET", "/v1/users/%2e%2e/users", "http:error:not-found", 404}, {"GET", "/v1/users%2fme", "http:error:not-found", 404},
		{"GET", "/v1/users/a%2fb", "user:error:not-found", 404}, {"GET", "/v1/users/%00", "http:error:not-found", 404}, {"GET", "/v1/users;x", "http:error:not-found", 404},
		{"GET", "/V1/users", "http:error:not-found", 404}, {"GET", "/v1/Users", "http:error:not-found", 404}, {"GET", "/v1/users/%c0%ae%c0%ae", "http:error:not-found", 404},
		{"GET", "/v1/users/USR-x", "user:error:not-found", 404}, {"GET", "/v1/users/%252f", "user:error:not-found", 404},
		{"GET", "/v1/conversations/CON-x", "conversation:error:not-found", 404}, {"GET", "/v1/users?%zz", "http:error:validation-fail", 400},
	} {
		got := w.call(tc.method, tc.path, w.admin(), nil).refused(tc.status, tc.code)
		if tc.status == 405 && got.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", tc.method, tc.path)
		}
	}
	// A method in a header or in the body is not the method.
	w.do(request{method: "GET", path: "/v1/users", token: w.admin(), header: map[string]string{"X-HTTP-Method-Override": "DELETE"}}).want(200)
	if head := w.call("HEAD", "/v1/users", w.admin(), nil); head.status != 200 || len(head.raw) != 0 {
		t.Errorf("HEAD: %d, %d bytes", head.status, len(head.raw))
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t, settings{})
	path := "/v1/conversations"
	send := func(kind, body string) *answer {
		header := map[string]string{"Authorization": "Bearer " + w.admin()}
		if kind != "" {
			header["Content-Type"] = kind
		}
		return w.do(request{method: "POST", path: path, body: body, header: header})
	}
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON"} {
		send(kind, `{"display_name":"x"}`).want(201)
		send(kind, ``).want(201)
	}
	form := send("application/x-www-form-urlencoded; charset=UTF-8", "display_name=caf%C3%A9+x&properties.ttl=60&properties.custom_data.n=5").want(201)
	if form.text("display_name") != "café x" || form.text("properties", "ttl") != "60" || form.at("properties", "custom_data", "n") != "5" {
		t.Errorf("form %s", form.raw)
	}
	for name, tc := range map[string]struct{ kind, body, code string }{
		"other type":       {"text/plain", "{}", "http:error:unsupported-media-type"},
		"multipart":        {"multipart/form-data; boundary=x", "--x--", "http:error:unsupported-media-type"},
		"other charset":    {"application/json; charset=latin1", "{}", "http:error:unsupported-media-type"},
		"broken type":      {"application/json; x", "{}", "http:error:unsupported-media-type"},
		"broken JSON":      {"application/json", `{"a":`, "http:error:validation-fail"},
		"no JSON":          {"application/json", `{a}`, "http:error:validation-fail"},
		"two objects":      {"application/json", `{}{}`, "http:error:validation-fail"},
		"not UTF-8":        {"application/json", "{\"name\":\"\xff\"}", "http:error:validation-fail"},
		"too deep":         {"application/json", `{"numbers":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "http:error:validation-fail"},
		"ten thousand":     {"application/json", strings.Repeat("[", 10_000), "http:error:validation-fail"},
		"too many members": {"application/json", `{"numbers":[` + strings.Repeat("1,", 5_000) + `1]}`, "http:error:validation-fail"},
		"too large":        {"application/json", `{"name":"` + strings.Repeat("x", 256<<10) + `"}`, "http:error:payload-too-large"},
		"broken form":      {"application/x-www-form-urlencoded", "%zz=1", "http:error:validation-fail"},
		"form of two ways": {"application/x-www-form-urlencoded", "a=1&a.b=2", "http:error:validation-fail"},
		"deep form":        {"application/x-www-form-urlencoded", strings.Repeat("a.", 50) + "b=2", "http:error:validation-fail"},
	} {
		status := map[string]int{"http:error:unsupported-media-type": 415, "http:error:payload-too-large": 413, "http:error:validation-fail": 400}[tc.code]
		got := send(tc.kind, tc.body).refused(status, tc.code)
		if detail := got.text("detail"); detail == "" {
			t.Errorf("%s: no detail", name)
		}
	}
}

func TestAnyOriginMayAsk(t *testing.T) {
	w := newWorld(t, settings{})
	origin := map[string]string{"Origin": "https://app.example.com"}
	for _, path := range []string{"/v1/users", "/beta/conversations/x/members/y", "/v2/applications", "/nothing"} {
		got := w.do(request{method: "OPTIONS", path: path, header: map[string]string{
			"Origin": "https://app.example.com", "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, content-type, x-trace-id",
		}})
		h := got.header
		if got.status != 204 || h.Get("Access-Control-Allow-Origin") != "https://app.example.com" || h.Get("Access-Control-Max-Age") == "" {
			t.Errorf("%s: preflight %d %v", path, got.status, h)
		}
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if !strings.Contains(h.Get("Access-Control-Allow-Methods"), m) {
				t.Errorf("%s is not allowed: %v", m, h)
			}
		}
		for _, name := range []string{"authorization", "content-type", "idempotency-key", "x-trace-id"} {
			if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
				t.Errorf("%s is not allowed: %v", name, h)
			}
		}
	}
	for _, r := range []request{
		{method: "GET", path: "/v1/users", token: w.admin(), header: origin}, {method: "GET", path: "/v1/users", header: origin}, {method: "GET", path: "/nothing", header: origin},
	} {
		h := w.do(r).header
		if h.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: %v", r.path, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", r.path, h)
		}
	}
	// A cookie is no credential.
	w.do(request{method: "GET", path: "/v1/users", header: map[string]string{"Cookie": "token=" + w.admin()}}).refused(401, "system:error:missing-token")
	w.call("GET", "/v1/users?token="+w.admin(), "", nil).refused(401, "system:error:missing-token")
}

func TestRateLimitsAreTyped(t *testing.T) {
	w := newWorld(t, settings{limits: func(o *limit.Options) { o.Rates[limit.Token] = limit.Rate{PerSecond: 0.001, Burst: 3} }})
	token := w.admin()
	for range 3 {
		w.call("GET", "/v1/users", token, nil).want(200)
	}
	got := w.call("GET", "/v1/users", token, nil).refused(429, "http:error:too-many-requests")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestOpenAPIDescribesEveryOperation(t *testing.T) {
	w := newWorld(t, settings{})
	doc := w.call("GET", "/openapi.json", "", nil).want(200)
	if v := doc.text("openapi"); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("version %q", v)
	}
	seen, paths, components := map[string]bool{}, doc.at("paths").(object), doc.at("components", "schemas").(object)
	for _, row := range rest.Rows() {
		item, _ := paths[row.Path].(object)
		op, ok := item[strings.ToLower(row.Method)].(object)
		if !ok {
			t.Errorf("%s is missing", row.Name)
			continue
		}
		id := op["operationId"].(string)
		if seen[id] || op["summary"] == "" || len(op["responses"].(object)) < 2 || op["security"] == nil {
			t.Errorf("%s: %v", row.Name, op)
		}
		seen[id] = true
		declared := fmt.Sprint(op["parameters"])
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(row.Path, -1) {
			if !strings.Contains(declared, "name:"+m[1]) {
				t.Errorf("%s: parameter %s is not declared", row.Name, m[1])
			}
		}
	}
	for _, m := range regexp.MustCompile(`"\$ref": ?"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(string(doc.raw), -1) {
		if components[m[1]] == nil {
			t.Errorf("schema %s does not exist", m[1])
		}
	}
	if len(components) < 60 {
		t.Errorf("only %d schemas", len(components))
	}
}

// TestJSONThatIsSentAsAForm is what curl -d does without -H: every generation says what is wrong,
// instead of making something without a name. What needs no body, and a form, goes on working.
func TestJSONThatIsSentAsAForm(t *testing.T) {
	w := newWorld(t, settings{})
	const form = "application/x-www-form-urlencoded"
	send := func(path, kind, body string) *answer {
		return w.do(request{method: "POST", path: path, token: w.admin(), body: body, header: map[string]string{"Content-Type": kind}})
	}
	for _, generation := range []string{"/beta", "/beta2", "/v0.1", "/v0.2", "/v0.3", "/v1"} {
		for _, path := range []string{generation + "/conversations", generation + "/users"} {
			for _, body := range []string{`{"name":"x"}`, " \n{\"display_name\":\"a=b&c=d\"}"} {
				got := send(path, form+"; charset=utf-8", body)
				if got.status != 415 || !strings.Contains(string(got.raw), "Content-Type: application/json") {
					t.Errorf("%s %s: %d %s", path, body, got.status, got.raw)
				}
			}
			for kind, body := range map[string]string{form: "display_name={x}", "": "", "application/json": `{"display_name":"x"}`} {
				if got := send(path, kind, body); got.status >= 300 {
					t.Errorf("%s %q %q: %d %s", path, kind, body, got.status, got.raw)
				}
			}
			if got := send(path, "", `{"display_name":"x"}`); got.status >= 300 {
				t.Errorf("%s: JSON without a type: %d %s", path, got.status, got.raw)
			}
		}
	}
}
