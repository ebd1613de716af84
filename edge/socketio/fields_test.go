package socketio_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestMembersOfAnotherKind: what is not what it must be is refused, and never taken for absent: nobody
// leaves, nothing is told, nothing is stored.
func TestMembersOfAnotherKind(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	c := n.login("ann", "2.0.5")
	odd := []any{7, 1.5, true, []any{}, value{}, "x"}
	for kind, fields := range map[string][]string{
		"user:get": {"user_id"}, "new:conversation": {"name", "display_name"}, "conversation:events": {"start_id", "end_id"},
		"conversation:join": {"user_id", "user_name", "member_id"}, "conversation:invite": {"user_id", "user_name", "media"},
		"conversation:member:delete": {"member_id", "reason"}, "event:delete": {"event_id"},
		"push:register": {"device_id", "device_token"}, "push:unregister": {"device_id"}, "push:subscribe": {"cid"}, "push:unsubscribe": {"cid"},
	} {
		for _, field := range fields {
			for _, v := range odd {
				_, isText := v.(string)
				_, isObject := v.(value)
				number := field == "start_id" || field == "end_id" || field == "event_id"
				object := field == "media" || field == "reason"
				if isText && !number && !object || isObject && object || number && v == 7 {
					continue
				}
				body := value{field: v}
				if field == "reason" {
					body["member_id"] = "me"
				}
				if field == "media" {
					body["user_name"] = "bob"
				}
				e := c.ask(kind, value{"cid": con, "body": body})
				if !strings.Contains(fmt.Sprint(e.payload["description"]), "body."+field+" must be") {
					t.Errorf("%s %s %v: %s %v", kind, field, v, e.name, e.payload)
				}
			}
		}
	}
	for _, body := range []any{nil, value{}, value{"member_id": nil}, value{"member_id": ""}, "x", 7, []any{1}} {
		if e := c.ask("conversation:member:delete", value{"cid": con, "body": body}); e.name == "conversation:member:delete:success" {
			t.Errorf("the asker left by %v", body)
		}
	}
	for _, kind := range []string{"text", "conversation:events", "user:get"} {
		for _, p := range []value{{"cid": con, "to": 7, "body": value{"text": "x"}}, {"cid": value{}, "body": value{"text": "x"}}, {"cid": con, "body": 7}} {
			if e := c.ask(kind, p); e.name == kind+":success" {
				t.Errorf("%s %v: %s", kind, p, e.name)
			}
		}
	}
	// null is absent, and a number may be a string.
	c.do("user:get", value{"body": value{"user_id": nil}})
	c.do("conversation:events", value{"cid": con, "body": value{"start_id": "1", "end_id": nil}})
	c.do("conversation:member:delete", value{"cid": con, "body": value{"member_id": "me"}})
}
