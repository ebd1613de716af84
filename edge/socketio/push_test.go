package socketio_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parley/proto/id"
	"parley/test/solo"
)

const appleToken = "00b1c2d3e4f5a6b7c8d9eaf0b1c2d3e4f5a6b7c8d9eaf0b1c2d3e4f5a6b7c8d9"

// grants makes a token with the grants of the era's guides and one path more.
func (n *node) grants(name string, more ...string) string {
	n.t.Helper()
	paths := map[string]any{"/v1/sessions/**": map[string]any{}, "/v1/users/**": map[string]any{}, "/v1/conversations/**": map[string]any{}}
	for _, p := range more {
		paths[p] = map[string]any{}
	}
	return n.tenant.Token(name, time.Hour, solo.Claims{"acl": solo.Claims{"paths": paths}})
}

// devices gives a user's devices, one line each.
func (n *node) devices(name string) string {
	n.t.Helper()
	u := must(n.cluster.GetUser(n.t.Context(), n.admin, refOf(name)))(n.t)
	var b strings.Builder
	for _, d := range must(n.cluster.Devices(n.t.Context(), n.admin, u.Id))(n.t) {
		fmt.Fprintln(&b, d.Id, d.Platform, d.Token, d.Environment, d.Topic)
	}
	return b.String()
}

// frames sends packets as they stand in recordings, and gives the name and the body of each answer.
func frames(c *client, packets ...string) (answers []string) {
	c.t.Helper()
	for _, p := range packets {
		if err := c.wire.send(p); err != nil {
			c.t.Fatal(err)
		}
		e := must(c.read())(c.t)
		answers = append(answers, fmt.Sprint(e.name, " ", e.payload["rid"], " ", e.payload["body"]))
	}
	return answers
}

// TestAndroidFrames are what the Android SDK of 2017 sends: its login, and its requests about
// notifications.
func TestAndroidFrames(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	con := n.conversation("ann")
	c := n.old()
	login := fmt.Sprintf(`42["session:login",{"tid":"7b1c6c5e-9a55-4f1c-8d0e-0c5a6b1f2e11","body":{"token":%q,"sdk":"0.22.0","device_id":"f3a9c2d1e0b4a586","device_type":"android"}}]`, n.grants("ann", "/v1/push/**"))
	if got := frames(c, login); !strings.HasPrefix(got[0], "session:success 7b1c6c5e") {
		t.Fatal(got)
	}
	got := frames(c,
		`42["push:register",{"tid":"1","body":{"device_token":"dG9rZW4:APA91b","device_type":"android","device_id":"f3a9c2d1e0b4a586"}}]`,
		`42["push:unsubscribe",{"tid":"2","cid":"`+con+`","body":{"cid":"`+con+`"}}]`,
		`42["push:subscribe",{"tid":"3","cid":"`+con+`","body":{"cid":"`+con+`"}}]`,
	)
	want := []string{"push:register:success 1 map[id:f3a9c2d1e0b4a586]", "push:unsubscribe:success 2 map[]", "push:subscribe:success 3 map[]"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
	if got := n.devices("ann"); got != "f3a9c2d1e0b4a586 PLATFORM_ANDROID dG9rZW4:APA91b  \n" {
		t.Errorf("devices %q", got)
	}
	if got := frames(c, `42["push:unregister",{"tid":"4","body":{"device_id":"f3a9c2d1e0b4a586"}}]`); got[0] != "push:unregister:success 4 map[]" {
		t.Errorf("got %q", got)
	}
	if got := n.devices("ann"); got != "" {
		t.Errorf("devices %q", got)
	}
}

// TestIOSFrames: the iOS SDK counts its requests in Unix seconds; the device is the one that logged in.
func TestIOSFrames(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	c := n.old()
	login := fmt.Sprintf(`42["session:login",{"tid":"1503964800","body":{"device_type":"ios","device_id":"A1B2C3D4-0001","token":%q,"sdk":"0.2"}}]`, n.grants("ann", "/v1/devices/**"))
	if got := frames(c, login); !strings.HasPrefix(got[0], "session:success 1503964800") {
		t.Fatal(got)
	}
	spaced := "<" + strings.ToUpper(appleToken[:8]) + " " + appleToken[8:] + ">" // as NSData describes itself
	got := frames(c, `42["push:register",{"tid":"1503964801","body":{"device_token":"`+spaced+`","device_push_environment":"sandbox","bundle_id":"com.example.chat"}}]`)
	if got[0] != "push:register:success 1503964801 map[id:A1B2C3D4-0001]" {
		t.Errorf("got %q", got)
	}
	if got := n.devices("ann"); got != "A1B2C3D4-0001 PLATFORM_IOS "+appleToken+" sandbox com.example.chat\n" {
		t.Errorf("devices %q", got)
	}
	if got := frames(c, `42["push:unregister",{"tid":"1503964802"}]`); got[0] != "push:unregister:success 1503964802 map[]" || n.devices("ann") != "" {
		t.Errorf("got %q, devices %q", got, n.devices("ann"))
	}
}

func TestPushRefusals(t *testing.T) {
	n := newNode(t)
	n.users("ann")
	granted := n.old()
	if e := granted.ask("session:login", value{"body": value{"token": n.grants("ann", "/v1/push/**")}}); e.name != "session:success" {
		t.Fatalf("%+v", e)
	}
	bare := n.login("ann", "4.0.2") // a token without the grants
	for _, tc := range []struct {
		c       *client
		kind    string
		payload value
		want    string
	}{
		{bare, "push:register", value{"body": value{"device_token": "x"}}, "push:register:error"},
		{bare, "push:unregister", value{"body": value{"device_id": "x"}}, "push:unregister:error"},
		{bare, "push:subscribe", value{"cid": id.New(id.Conversation)}, "system:error:permission"},
		{granted, "push:register", value{"body": value{"device_token": "x", "device_type": "toaster"}}, "push:register:error"},
		{granted, "push:register", value{"body": value{"device_type": "android"}}, "push:register:error"},
		{granted, "push:register", value{"body": value{"device_type": "ios", "device_token": "../../admin"}}, "push:register:error"},
		{granted, "push:register", value{"body": value{"device_token": []int{1}}}, "push:register:error"},
		{granted, "push:register", value{"body": value{"tokens": value{"voip": value{"token": appleToken}}}}, "push:register:error"},
		{granted, "push:unsubscribe", nil, "http:error:validation-fail"},
		{granted, "push:unsubscribe", value{"cid": "CON-nonsense"}, "conversation:error:not-found"},
		{granted, "push:dance", nil, "system:error:invalid-event"},
	} {
		if e := tc.c.ask(tc.kind, tc.payload); e.name != tc.want || e.payload["description"] == "" {
			t.Errorf("%s %v: %s %v", tc.kind, tc.payload, e.name, e.payload)
		}
	}
	granted.do("push:register", value{"body": value{"device_token": "x"}})
	if got := n.devices("ann"); !strings.HasSuffix(got, " PLATFORM_ANDROID x  \n") {
		t.Errorf("a device that tells nothing but its token: %q", got)
	}
}

// TestADeviceChangesHands: who registers it takes it from the user before, also when it names it otherwise; the
// other devices of that user stay.
func TestADeviceChangesHands(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	register := func(c *client, id, token string) {
		c.do("push:register", value{"body": value{"device_id": id, "device_token": token, "device_type": "android"}})
	}
	in := func(name string) *client {
		c := n.old()
		if e := c.ask("session:login", value{"body": value{"token": n.grants(name, "/v1/push/**")}}); e.name != "session:success" {
			t.Fatalf("%+v", e)
		}
		return c
	}
	ann, bob := in("ann"), in("bob")
	register(ann, "phone", "t1")
	register(ann, "tablet", "t2")
	register(bob, "my phone", "t1")
	if a, b := n.devices("ann"), n.devices("bob"); a != "tablet PLATFORM_ANDROID t2  \n" || b != "my phone PLATFORM_ANDROID t1  \n" {
		t.Errorf("ann has %q, bob %q", a, b)
	}
	register(ann, "phone", "t1")
	if a, b := n.devices("ann"), n.devices("bob"); strings.Count(a, "t1") != 1 || b != "" {
		t.Errorf("when it is given back ann has %q, bob %q", a, b)
	}
}
