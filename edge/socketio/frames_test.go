package socketio_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"parley/test/solo"
)

// veils hide what differs from run to run in recorded frames.
var veils = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(CON|USR|MEM|NAM|SES)-[0-9a-f]{8}-[0-9a-f-]{27}`), "$1"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "TIME"},
}

func veiled(frame string) string {
	for _, v := range veils {
		frame = v.what.ReplaceAllString(frame, v.by)
	}
	return frame
}

// TestRecordedFrames pins the answers byte for byte as the SDKs of three generations are given them:
// the older ones compare ids as they sent them, and read members by their place in nested objects.
func TestRecordedFrames(t *testing.T) {
	for _, version := range []string{"0.1.21", "2.0.5", "4.0.2"} {
		t.Run(version, func(t *testing.T) {
			n := newNode(t)
			n.users("ann")
			con := n.conversation("ann")
			c := n.login("ann", version)
			for _, tc := range []struct{ ask, answer string }{
				{`42["text",{"tid":"a\"1","cid":"CID","body":{"text":"one"}}]`,
					`42["text:success",{"rid":"a\"1","cid":"CON","body":{"id":2,"timestamp":"TIME"}}]`},
				{`42[ "text" , {"body" : {"text":"two"}, "cid":"CID", "tid":1511302968} ]`,
					`42["text:success",{"rid":1511302968,"cid":"CON","body":{"id":3,"timestamp":"TIME"}}]`},
				{`42["text",{"cid":"CID","body":{"text":"three"}}]`,
					`42["text:success",{"cid":"CON","body":{"id":4,"timestamp":"TIME"}}]`},
				{`42["text:typing:on",{"tid":"b","cid":"CID","body":{"activity":1}}]`,
					`42["text:typing:on:success",{"rid":"b","cid":"CON","body":{"timestamp":"TIME"}}]`},
				{`42["text:seen",{"tid":"c","cid":"CID","body":{"event_id":"2"}}]`,
					`42["text:seen:success",{"rid":"c","cid":"CON","body":{"id":5,"timestamp":"TIME"}}]`},
				{`42["custom:dice",{"tid":"d","cid":"CID","body":{"eyes":[6,{"of":"\u0036"}]}}]`,
					`42["custom:dice:success",{"rid":"d","cid":"CON","body":{"id":6,"timestamp":"TIME"}}]`},
				{`42["event:delete",{"tid":"e","cid":"CID","body":{"event_id":2}}]`,
					`42["event:delete:success",{"rid":"e","cid":"CON","body":{"id":7,"timestamp":"TIME"}}]`},
				{`42["text",{"tid":"a\"1","cid":"CID","body":{"text":"one"}}]`, // again: the first result
					`42["text:success",{"rid":"a\"1","cid":"CON","body":{"id":2,"timestamp":"TIME"}}]`},
				{`42["text",{"tid":{"no":"id"},"cid":"CID","body":{"text":"four"}}]`,
					`42["text:success",{"cid":"CON","body":{"id":8,"timestamp":"TIME"}}]`},
				{`42["text:seen",{"tid":"f","cid":"CID","body":{"event_id":99}}]`,
					`42["event:error:not-found",{"rid":"f","cid":"CON","code":"event:error:not-found","description":"event 99 does not exist","body":{}}]`},
				{`42["rtc:new",{"tid":null,"body":{}}]`,
					`42["system:error:not-available",{"code":"system:error:not-available","description":"voice is not available on this server","body":{}}]`},
			} {
				if err := c.wire.send(strings.ReplaceAll(tc.ask, "CID", con)); err != nil {
					t.Fatal(err)
				}
				if got := c.answerFrame(); veiled(got) != tc.answer {
					t.Errorf("%s\nis answered %s\nin place of  %s", tc.ask, veiled(got), tc.answer)
				}
			}
		})
	}
}

// answerFrame gives the next packet that answers something; what is told besides is passed over.
func (c *client) answerFrame() string {
	c.t.Helper()
	for {
		p, err := c.packet()
		if err != nil {
			c.t.Fatal(err)
		}
		if name, _, _ := strings.Cut(p, `",`); strings.HasSuffix(name, ":success") || strings.Contains(name, "error:") {
			return p
		}
	}
}

// TestTheTokensListCoversEachRequest: a request of the socket needs the grant of the call that REST has
// for it, and a refusal says which; with that grant alone it is carried out.
func TestTheTokensListCoversEachRequest(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann")
	c := n.login("ann", "4.0.2")
	ann, hers := c.do("user:get", nil)["id"].(string), c.do("new:conversation", value{"body": value{"name": "hers"}})["id"].(string)
	member := c.member(con, "ann").(string)
	for _, tc := range []struct {
		kind         string
		payload      value
		method, path string
	}{
		{"user:conversations", value{}, "GET", "/v1/users/" + ann + "/conversations"},
		{"user:get", value{}, "GET", "/v1/users/" + ann},
		{"new:conversation", value{"body": value{"name": "den"}}, "POST", "/v1/conversations"},
		{"conversation:get", value{"cid": con}, "GET", "/v1/conversations/" + con},
		{"conversation:events", value{"cid": con}, "GET", "/v1/conversations/" + con + "/events"},
		{"text", value{"cid": con, "body": value{"text": "x"}}, "POST", "/v1/conversations/" + con + "/events"},
		{"text:seen", value{"cid": con, "body": value{"event_id": 1}}, "POST", "/v1/conversations/" + con + "/events"},
		{"conversation:invite", value{"cid": con, "body": value{"user_name": "bob"}}, "POST", "/v1/conversations/" + con + "/members"},
		{"event:delete", value{"cid": con, "body": value{"event_id": 2}}, "DELETE", "/v1/conversations/" + con + "/events/2"},
		{"push:register", value{"body": value{"device_token": "x", "device_id": "phone"}}, "PUT", "/v1/devices/phone"},
		{"push:unregister", value{"body": value{"device_id": "phone"}}, "DELETE", "/v1/devices/phone"},
		{"push:unsubscribe", value{"cid": con}, "PUT", "/v1/devices/" + con},
		{"conversation:member:delete", value{"cid": con, "body": value{"member_id": member}}, "DELETE", "/v1/conversations/" + con + "/members/" + member},
		{"conversation:join", value{"cid": con, "body": value{"user_name": "ann"}}, "POST", "/v1/conversations/" + con + "/members"},
		{"conversation:delete", value{"cid": hers}, "DELETE", "/v1/conversations/" + hers},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			const login = "/*/sessions/**"
			denied := n.loginWith("ann", solo.Claims{login: solo.Claims{}})
			e := denied.ask(tc.kind, tc.payload)
			want := "system:error:permission"
			if strings.HasPrefix(tc.kind, "push:") && tc.kind != "push:unsubscribe" {
				want = tc.kind + ":error"
			}
			if e.name != want || !strings.Contains(fmt.Sprint(e.payload["description"]), tc.method+" "+tc.path) {
				t.Errorf("without a grant: %s %v", e.name, e.payload["description"])
			}
			granted := n.loginWith("ann", solo.Claims{login: solo.Claims{}, tc.path: solo.Claims{"methods": []string{tc.method}}})
			if e := granted.ask(tc.kind, tc.payload); e.name != tc.kind+":success" {
				t.Errorf("with it: %s %v", e.name, e.payload)
			}
		})
	}
}

// loginWith logs in with a token that grants these paths.
func (n *node) loginWith(name string, paths solo.Claims) *client {
	n.t.Helper()
	c := n.old()
	token := n.tenant.Token(name, time.Hour, solo.Claims{"acl": solo.Claims{"paths": paths}})
	if e := c.ask("session:login", value{"body": value{"token": token, "SDK_version": "4.0.2"}}); e.name != "session:success" {
		n.t.Fatalf("login: %v", e)
	}
	return c
}
