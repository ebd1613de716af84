package rest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parley/edge/limit"
	"parley/edge/rest"
	"parley/test/solo"
)

// roles are the columns of the contract, in order: an administrator of another application, a
// user without any membership, one invited, one joined, the creator who has not joined, and the
// administrator.
var roles = []string{"other", "stranger", "invited", "member", "creator", "admin"}

// scene is one conversation and its people, made afresh for every question.
type scene struct {
	conversation, event, member, session string
	users                                map[string]string // name of the role to user id
}

func (w *world) newScene(n int) scene {
	w.t.Helper()
	s := scene{users: map[string]string{}}
	for _, role := range []string{"stranger", "invited", "member", "creator"} {
		s.users[role] = w.newUser(name(role, n))
	}
	s.conversation = w.newConversation(w.as(name("creator", n)), object{})
	s.member = w.join(s.conversation, s.users["member"])
	w.call("POST", "/v1/conversations/"+s.conversation+"/members", w.admin(), object{"state": "invited", "user": object{"id": s.users["invited"]}}).want(201)
	s.session = fmt.Sprintf("SES-%d", n)
	w.sessions[s.users["member"]] = []string{s.session}
	s.event = w.say(s.conversation, w.as(name("member", n)), "hi").text("id")
	return s
}

func name(role string, n int) string { return fmt.Sprintf("%s-%d", role, n) }

// question fills in an operation's path and body for one role.
func (s scene) question(row rest.Row, role, application string) (path string, body any) {
	path = strings.NewReplacer("{conversation}", s.conversation, "{member}", s.member, "{event}", s.event,
		"{user}", s.users["member"], "{application}", application, "{session}", s.session,
		"{device}", "phone", "{platform}", "android").Replace(row.Path)
	joiner := role
	if role == "admin" || role == "other" {
		joiner = "stranger"
	}
	switch row.Name {
	case "v1.addMember", "v0.3.addMember":
		return path, object{"state": "joined", "user": object{"id": s.users[joiner]}}
	case "beta.addMember", "v0.2.addMember":
		return path, object{"action": "join", "user_id": s.users[joiner], "channel": object{"type": "app"}}
	case "v1.updateMember", "v0.3.updateMember":
		return path, object{"state": "left"}
	case "beta.updateMember", "v0.2.updateMember":
		return path, object{"action": "leave"}
	case "v1.postEvent", "v0.3.postEvent", "v0.2.postEvent", "beta.postEvent":
		return path, object{"type": "text", "body": object{"text": "x"}}
	case "v1.importUser", "v1.importConversation":
		return path, object{"name": "imported", "timestamp": object{"created": "2020-01-01T00:00:00.000Z"}}
	case "v1.importMembers":
		return path, object{"members": []object{}}
	case "v1.importEvents":
		return path, object{"events": []object{}}
	case "v1.finishImport":
		return path, object{"sequence_number": 0, "members": 0}
	case "operator.createApplication", "operator.updateApplication", "operator.createApplicationV1", "operator.updateApplicationV1":
		return path, object{"name": "x"}
	}
	switch {
	case strings.HasSuffix(row.Name, ".putDevice"):
		return path, object{"device_type": "android", "device_token": "t"}
	case strings.HasSuffix(row.Name, ".putPushToken"):
		return path, object{"token": "server-key"}
	}
	if row.Method == "POST" || row.Method == "PUT" || row.Method == "PATCH" {
		return path, object{"display_name": "x"}
	}
	return path, nil
}

func TestContract(t *testing.T) {
	w := newWorld(t, settings{})
	other := w.newTenant(1)
	still, last := w.newScene(0), 0 // for questions that change nothing: reading ones, and refused ones
	for _, row := range rest.Rows() {
		want, ok := contract[row.Name]
		if !ok {
			t.Errorf("%s has no row in the contract", row.Name)
			continue
		}
		for j, role := range roles {
			n, s := 0, still
			if row.Method != "GET" && want[j] < 300 {
				last++
				n, s = last, w.newScene(last)
			}
			token := map[string]string{"other": other.token(t, nil), "admin": w.admin()}[role]
			if token == "" {
				token = w.as(name(role, n))
			}
			path, body := s.question(row, role, w.app.id)
			if got := w.call(row.Method, path, token, body); got.status != want[j] {
				t.Errorf("%s by %s: status %d, want %d: %s", row.Name, role, got.status, want[j], got.raw)
			}
		}
	}
}

func TestContractHasOnlyWhatExists(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range rest.Rows() {
		seen[row.Name] = true
	}
	for name := range contract {
		if !seen[name] {
			t.Errorf("the contract has a row for %s, which does not exist", name)
		}
	}
}

// Who brings no good token learns nothing, whatever is asked.
func TestContractWithoutToken(t *testing.T) {
	w := newWorld(t, settings{limits: func(o *limit.Options) { o.Rates[limit.Guess] = limit.Rate{PerSecond: 1e6, Burst: 1e6} }})
	s := w.newScene(0)
	old := time.Now().Add(-time.Hour).Unix()
	narrow := object{"sub": name("member", 0), "acl": object{"paths": object{"/*/nothing/**": object{}}}}
	for _, tc := range []struct {
		name, token, code string
		status            int
	}{
		{"none", "", "system:error:missing-token", 401},
		{"garbage", "x.y.z", "system:error:invalid-token", 401},
		{"expired", w.app.token(t, object{"iat": old, "exp": old + 60}), "system:error:expired-token", 401},
		{"not yet valid", w.app.token(t, object{"nbf": time.Now().Unix() + 600}), "system:error:invalid-token", 401},
		{"another key", tenant{w.app.id, solo.Key(t, 1)}.token(t, nil), "system:error:invalid-token", 401},
		{"unknown application", tenant{"0de7a7b5-1f8e-4c53-9d4b-6f6f6a3e9aff", solo.Key(t, 0)}.token(t, nil), "system:error:invalid-token", 401},
		{"unknown user", w.as("nobody"), "system:error:invalid-token", 401},
		{"user without acl", w.app.token(t, object{"sub": name("member", 0)}), "system:error:permission", 403},
		{"acl that does not cover", w.app.token(t, narrow), "system:error:permission", 403},
	} {
		for _, row := range rest.Rows() {
			if row.Operator || row.AnyToken && tc.status == 403 {
				continue
			}
			for _, prefix := range row.Prefixes {
				path, body := s.question(row, "admin", w.app.id)
				path = prefix + strings.TrimPrefix(path, row.Prefixes[0])
				got := w.call(row.Method, path, tc.token, body).refused(tc.status, tc.code)
				if tc.name == "acl that does not cover" && !strings.Contains(string(got.raw), path) {
					t.Errorf("%s: the refused path is not named: %s", row.Name, got.raw)
				}
			}
		}
	}
	if got := w.call("GET", "/v1/conversations/"+s.conversation+"/events", w.admin(), nil).want(200); len(got.list("_embedded")) != 3 {
		t.Errorf("a refused request left something: %s", got.raw)
	}
}
