package push_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/actors/outbox"
	"parley/actors/push"
	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const (
	android = eventv1.Platform_PLATFORM_ANDROID
	ios     = eventv1.Platform_PLATFORM_IOS
	web     = eventv1.Platform_PLATFORM_WEB
	invite  = nodev1.MemberAction_MEMBER_ACTION_INVITE
)

func TestWhoIsTold(t *testing.T) {
	s := newScene(t, nil)
	s.user("ann", "ann-1")
	s.user("bob", "bob-1", "bob-2")
	s.user("carol", "carol-1")
	s.user("dave", "dave-1")
	s.user("eve", "eve-1")
	s.user("fred")
	s.user("gina", "gina-1")
	s.user("hal", "hal-1")
	s.join("ann", "bob", "carol", "eve", "fred", "gina")
	s.add("dave", invite, "ann")
	s.live[userID("carol")] = true
	s.must(nodev1.Kind_KIND_CONVERSATION, room, admin, &nodev1.Command{Body: &nodev1.Command_UpdateMember{
		UpdateMember: &nodev1.UpdateMember{MemberId: memberID("eve"), Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}}})
	s.must(nodev1.Kind_KIND_USER, userID("gina"), admin, &nodev1.Command{Body: &nodev1.Command_MutePush{
		MutePush: &nodev1.MutePush{ConversationId: room, Muted: true}}})
	s.register("bob", &eventv1.Device{Id: "bob-web", Platform: web, Token: "https://fcm.googleapis.com/x", P256Dh: append([]byte{4}, make([]byte, 64)...), Auth: make([]byte, 16)})
	text := s.post("ann", "text", `{"text":"hello"}`)
	s.join("hal")
	if err := s.deliver(text, 1); err != nil {
		t.Fatal(err)
	}
	s.wantTold("bob-1", "bob-2") // the application has no credential for bob's browser
	if got := s.status(android); got != "VALID " {
		t.Errorf("the credential is %s", got)
	}
	if got := s.status(ios); got != "UNVERIFIED " {
		t.Errorf("the credential that was not used is %s", got)
	}
}

func TestAnInvitationIsTheInvitedUsersAlone(t *testing.T) {
	s := newScene(t, nil)
	s.user("ann", "ann-1")
	s.user("bob", "bob-1")
	s.user("carol", "carol-1")
	s.join("ann", "carol")
	invitation := s.add("bob", invite, "ann")
	for range 2 { // a row may come again after it was done
		if err := s.deliver(invitation, 1); err != nil {
			t.Fatal(err)
		}
	}
	p := decode(t, s.told["bob-1"][0])
	s.wantTold("bob-1", "bob-1")
	body, from := p["body"].(object), p["push_info"].(object)["from_user"].(object)
	if p["event_type"] != "member:invited" || body["cname"] != "tea" || body["invited_by"] != "ann" || body["conversation"] != nil ||
		body["user"].(object)["name"] != "bob" || body["timestamp"].(object)["invited"] == "" || from["name"] != "ann" || from["user_id"] != userID("ann") {
		t.Errorf("payload %v", p)
	}
	s.live[userID("bob")] = true
	if err := s.deliver(invitation, 1); err != nil {
		t.Fatal(err)
	}
	s.live[userID("bob")] = false
	s.must(nodev1.Kind_KIND_CONVERSATION, room, admin, &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
		Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, NewMemberId: memberID("bob2"), User: &eventv1.Author{UserId: userID("bob"), Name: "bob"}}}})
	if err := s.deliver(invitation, 1); err != nil {
		t.Fatal(err)
	}
	s.wantTold() // he was there, and then he had accepted
}

func TestWhatIsTold(t *testing.T) {
	s := newScene(t, nil)
	s.user("ann")
	s.user("bob", "bob-1")
	s.join("ann", "bob")
	for _, c := range []struct {
		kind, body string
		told       bool
	}{
		{"text", `{"text":"x"}`, true}, {"message", `{"message_type":"text","text":"x"}`, true},
		{"message", `{"message_type":"image","image":{"url":"https://x.example/a.png"}}`, true},
		{"message", `{"message_type":"custom","custom":{}}`, false}, {"custom:order", `{"n":1}`, false},
	} {
		if err := s.deliver(s.post("ann", c.kind, c.body), 1); err != nil {
			t.Fatal(err)
		}
		if c.told {
			s.wantTold("bob-1")
		} else {
			s.wantTold()
		}
	}
	text := s.post("ann", "text", `{"text":"x"}`)
	old := s.rowOf(text)
	old.CreatedMs -= (24*time.Hour + time.Minute).Milliseconds()
	if err := s.deliverRow(t.Context(), old, 1); err != nil {
		t.Fatal(err)
	}
	s.must(nodev1.Kind_KIND_CONVERSATION, room, admin, &nodev1.Command{Body: &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: text}}})
	kept := s.post("ann", "text", `{"text":"y"}`)
	for _, sequence := range []uint64{text, 999} {
		if err := s.deliver(sequence, 1); err != nil {
			t.Fatal(err)
		}
	}
	s.must(nodev1.Kind_KIND_CONVERSATION, room, admin, &nodev1.Command{Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}})
	if err := s.deliver(kept, 1); err != nil {
		t.Fatal(err)
	}
	s.wantTold()
}

// TestFailures: what failed for now is tried again alone; the dead are removed; a credential that is
// not good is told, and holds nothing up.
func TestFailures(t *testing.T) {
	s := newScene(t, nil)
	s.user("ann")
	s.user("bob", "busy", "well", "dead", "refused")
	s.register("bob", &eventv1.Device{Id: "locked", Platform: ios, Token: "aa"})
	s.join("ann", "bob")
	s.fail = func(token string, attempt int) error {
		switch token {
		case "busy":
			if attempt < 3 {
				return &delivery.Failure{Verdict: delivery.Retry, Reason: "busy", RetryAfter: time.Minute}
			}
		case "dead":
			return delivery.Fail(delivery.Dead, "UNREGISTERED")
		case "refused":
			return delivery.Fail(delivery.Refused, "too large")
		case "aa":
			return delivery.Fail(delivery.Unauthorized, "BadCertificate")
		}
		return nil
	}
	text := s.post("ann", "text", `{"text":"x"}`)
	for attempt, want := range [][]string{{"well"}, {}, {"busy"}} {
		err := s.deliver(text, attempt+1)
		s.wantTold(want...)
		if attempt == 2 {
			if err != nil {
				t.Errorf("the last attempt: %v", err)
			}
			continue
		}
		var f *outbox.Failure
		if !errors.As(err, &f) || f.After != time.Minute || f.Final || f.Untried || !strings.Contains(err.Error(), "busy") {
			t.Fatalf("attempt %d: %v", attempt+1, err)
		}
		if err := s.deliver(text, attempt+2); err == nil { // too early: the provider is left alone
			t.Error("what was owed is done without having been tried")
		}
		s.now = s.now.Add(time.Minute)
	}
	if got := s.attempts; got["busy"] != 3 || got["well"] != 1 || got["dead"] != 1 || got["refused"] != 1 || got["aa"] != 1 {
		t.Errorf("attempts %v", got)
	}
	if got := s.devices("bob"); strings.Join(got, " ") != "busy well refused locked" {
		t.Errorf("devices %v", got)
	}
	if got := s.status(ios); got != "INVALID BadCertificate" {
		t.Errorf("the credential is %s", got)
	}
}

// A device that was registered anew while its old token was found dead stays.
func TestADeviceWithANewTokenIsNotRemoved(t *testing.T) {
	s := newScene(t, nil)
	s.user("ann")
	s.user("bob", "old")
	s.join("ann", "bob")
	s.fail = func(string, int) error {
		s.register("bob", &eventv1.Device{Id: "old", Platform: android, Token: "new"})
		return delivery.Fail(delivery.Dead, "UNREGISTERED")
	}
	if err := s.deliver(s.post("ann", "text", `{"text":"x"}`), 1); err != nil {
		t.Fatal(err)
	}
	if got := s.devices("bob"); len(got) != 1 {
		t.Errorf("devices %v", got)
	}
}

func TestALargeGroupIsWalkedInPages(t *testing.T) {
	s := newScene(t, func(o *push.Options) { o.PageSize, o.JobSendsMax, o.OwedMax = 10, 4, 15 })
	s.user("ann")
	s.join("ann")
	var everybody []string
	for i := range 57 {
		name := fmt.Sprintf("user-%02d", i)
		s.user(name, name)
		s.join(name)
		everybody = append(everybody, name)
	}
	down := true
	s.fail = func(string, int) error {
		if down {
			return delivery.Fail(delivery.Retry, "down")
		}
		return nil
	}
	text := s.post("ann", "text", `{"text":"x"}`)
	if err := s.deliver(text, 1); err == nil {
		t.Fatal("done without anybody told")
	}
	if n := len(s.attempts); n < 15 || n > 30 {
		t.Errorf("%d devices were tried while the provider is down, of 57", n)
	}
	down = false
	if err := s.deliver(text, 2); err != nil {
		t.Fatal(err)
	}
	s.wantTold(everybody...)
	if s.most > 4 {
		t.Errorf("%d notifications were on their way at once", s.most)
	}
}

// A row whose time is over goes on where it stood.
func TestTheEndOfAnAttemptLosesNothing(t *testing.T) {
	s := newScene(t, func(o *push.Options) { o.PageSize, o.JobSendsMax = 5, 1 })
	s.user("ann")
	s.join("ann")
	var everybody []string
	for i := range 17 {
		name := fmt.Sprintf("user-%02d", i)
		s.user(name, name)
		s.join(name)
		everybody = append(everybody, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.fail = func(token string, _ int) error {
		if token == "user-07" {
			cancel()
		}
		return nil
	}
	text := s.post("ann", "text", `{"text":"x"}`)
	if err := s.deliverRow(ctx, s.rowOf(text), 1); err == nil {
		t.Fatal("done before everybody was told")
	}
	if err := s.deliver(text, 2); err != nil {
		t.Fatal(err)
	}
	s.wantTold(everybody...)
}

func TestARowWithoutAPlaceComesBackSoon(t *testing.T) {
	s := newScene(t, func(o *push.Options) { o.JobsMax = 1 })
	s.user("ann")
	s.user("bob", "bob-1")
	s.join("ann", "bob")
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.fail = func(string, int) error {
		once.Do(func() { close(arrived) })
		<-release
		return nil
	}
	text := s.post("ann", "text", `{"text":"x"}`)
	first := make(chan error, 1)
	s.sink.Deliver(t.Context(), outbox.Delivery{Row: s.rowOf(text), Attempt: 1}, func(err error) { first <- err })
	select {
	case <-arrived:
	case err := <-first:
		t.Fatalf("the row was done before it was told: %v", err)
	}
	var f *outbox.Failure
	if err := s.deliver(text, 1); !errors.As(err, &f) || !f.Untried || f.After <= 0 {
		t.Errorf("the row without a place: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	if _, err := push.Open(t.Context(), push.DefaultOptions()); err == nil {
		t.Error("a sink without a caller was opened")
	}
	for what, spoil := range map[string]func(*push.Options){
		"jobs": func(o *push.Options) { o.JobsMax = 0 }, "page": func(o *push.Options) { o.PageSize = 101 },
		"timeout": func(o *push.Options) { o.JobTimeout = 0 }, "lasts": func(o *push.Options) { o.Lasts = 0 },
	} {
		o := push.DefaultOptions()
		s := &scene{}
		o.Caller, o.Application, o.Live = s, s.application, s.liveOf
		spoil(&o)
		if o.Validate() == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
