package push_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/actors/conversation/row"
	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/actors/push"
	"parley/actors/push/delivery"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const app = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"

var (
	admin    = &nodev1.Principal{ApplicationId: app, Admin: true}
	operator = &nodev1.Principal{Admin: true}
	room     = id.Derive(id.Conversation, app, "", "room")
)

func userID(name string) string   { return id.Derive(id.User, app, "", name) }
func memberID(name string) string { return id.Derive(id.Member, app, "", name) }

// scene is real machines and queries in memory, with a sink over providers that keep what they get.
type scene struct {
	t    *testing.T
	sink *push.Sink
	now  time.Time

	mu    sync.Mutex // guards what follows
	world *world.World
	live  map[string]bool
	// fail says how a provider answers for a device, by its token and the number of the attempt; nil
	// = it takes everything.
	fail     func(token string, attempt int) error
	told     map[string][]string // payloads by device token
	attempts map[string]int
	flying   int
	most     int // notifications on their way at once
}

func newScene(t *testing.T, tune func(*push.Options)) *scene {
	t.Helper()
	s := &scene{t: t, world: world.New(3), live: map[string]bool{}, told: map[string][]string{}, attempts: map[string]int{}}
	s.now = time.UnixMilli(s.world.Now)
	s.must(nodev1.Kind_KIND_APPLICATION, app, operator, &nodev1.Command{Body: &nodev1.Command_PutApplication{
		PutApplication: &nodev1.PutApplication{Create: true, Application: &eventv1.Application{Name: "tests"}}}})
	s.upload(eventv1.Platform_PLATFORM_ANDROID)
	s.upload(eventv1.Platform_PLATFORM_IOS)
	s.must(nodev1.Kind_KIND_CONVERSATION, room, admin, &nodev1.Command{Body: &nodev1.Command_CreateConversation{
		CreateConversation: &nodev1.CreateConversation{Conversation: &eventv1.Conversation{Name: "tea", DisplayName: "Tea"}}}})
	o := push.DefaultOptions()
	o.Caller, o.Application, o.Live, o.Now = s, s.application, s.liveOf, func() time.Time { return s.now }
	o.Senders = map[eventv1.Platform]push.Sender{eventv1.Platform_PLATFORM_ANDROID: s, eventv1.Platform_PLATFORM_IOS: s}
	if tune != nil {
		tune(&o)
	}
	var err error
	if s.sink, err = push.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.sink.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Ask implements push.Caller.
func (s *scene) Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Query != nil {
		return answer(s.world.Ask(req.Kind, req.ApplicationId, req.Id, req.Query)), nil
	}
	results, err := s.world.Do(req.Kind, req.ApplicationId, req.Id, req.Command)
	if err != nil {
		return nil, err
	}
	return answer(results[0].Reply, results[0].Err), nil
}

func answer(reply *nodev1.Reply, err error) *nodev1.GrainReply {
	if err != nil {
		return &nodev1.GrainReply{Error: grain.ErrorOf(err)}
	}
	return &nodev1.GrainReply{Reply: reply}
}

func (s *scene) application(wanted string) (*eventv1.Application, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entity, err := id.Parse(id.Application, wanted)
	if err != nil {
		return nil, err
	}
	a := &eventv1.Application{}
	_, err = row.Read(s.world.Rows(), keys.Application(entity), a)
	return a, err
}

func (s *scene) liveOf(_ context.Context, _ string, users []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(users), func(u string) bool { return !s.live[u] })
}

// Send implements push.Sender.
func (s *scene) Send(ctx context.Context, _ *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) error {
	s.mu.Lock()
	s.flying++
	s.most = max(s.most, s.flying)
	s.attempts[d.Token]++
	attempt, fail := s.attempts[d.Token], s.fail
	s.mu.Unlock()
	var err error
	if fail != nil {
		err = fail(d.Token, attempt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	if err == nil {
		s.told[d.Token] = append(s.told[d.Token], string(n.Payload))
	}
	return err
}

// Close implements push.Sender.
func (s *scene) Close() {}

func (s *scene) must(kind nodev1.Kind, entity string, p *nodev1.Principal, c *nodev1.Command) *nodev1.Reply {
	s.t.Helper()
	c.Principal = p
	s.mu.Lock()
	defer s.mu.Unlock()
	results, err := s.world.Do(kind, app, entity, c)
	if err == nil {
		err = results[0].Err
	}
	if err == nil {
		err = s.world.Deliver()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return results[0].Reply
}

func (s *scene) upload(p eventv1.Platform) {
	s.t.Helper()
	c := &eventv1.PushCredential{Id: id.New(""), Platform: p, Kind: eventv1.PushKind_PUSH_KIND_TOKEN, Secret: []byte("s")}
	s.must(nodev1.Kind_KIND_APPLICATION, app, operator, &nodev1.Command{Body: &nodev1.Command_PutPushCredential{
		PutPushCredential: &nodev1.PutPushCredential{Credential: c}}})
}

// status is a credential's, with the reason.
func (s *scene) status(p eventv1.Platform) string {
	s.t.Helper()
	a, err := s.application(app)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range a.PushCredentials {
		if c.Platform == p {
			return fmt.Sprint(c.Status.String()[len("PUSH_STATUS_"):], " ", c.Reason)
		}
	}
	return "none"
}

// user makes a user with Android devices, whose tokens are given.
func (s *scene) user(name string, tokens ...string) {
	s.t.Helper()
	s.must(nodev1.Kind_KIND_USER, userID(name), admin, &nodev1.Command{Body: &nodev1.Command_CreateUser{
		CreateUser: &nodev1.CreateUser{User: &eventv1.User{Name: name}}}})
	for _, token := range tokens {
		s.register(name, &eventv1.Device{Id: token, Platform: eventv1.Platform_PLATFORM_ANDROID, Token: token})
	}
}

func (s *scene) register(name string, d *eventv1.Device) {
	s.t.Helper()
	s.must(nodev1.Kind_KIND_USER, userID(name), &nodev1.Principal{ApplicationId: app, UserId: userID(name)},
		&nodev1.Command{Body: &nodev1.Command_PutDevice{PutDevice: &nodev1.PutDevice{Device: d}}})
}

func (s *scene) devices(name string) (ids []string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := s.world.Ask(nodev1.Kind_KIND_USER, app, userID(name), &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetDevices{GetDevices: &nodev1.GetDevices{}}})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, d := range reply.Devices.Devices {
		ids = append(ids, d.Id)
	}
	return ids
}

// add joins or invites a user; by is the inviting user, empty = an administrator.
func (s *scene) add(name string, action nodev1.MemberAction, by string) uint64 {
	s.t.Helper()
	p := admin
	if by != "" {
		p = &nodev1.Principal{ApplicationId: app, UserId: userID(by), UserName: by}
	}
	reply := s.must(nodev1.Kind_KIND_CONVERSATION, room, p, &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
		Action: action, NewMemberId: memberID(name), User: &eventv1.Author{UserId: userID(name), Name: name}}}})
	return reply.Event.Event.Sequence
}

func (s *scene) join(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.add(name, nodev1.MemberAction_MEMBER_ACTION_JOIN, "")
	}
}

func (s *scene) post(name, kind, body string) uint64 {
	s.t.Helper()
	p := &nodev1.Principal{ApplicationId: app, UserId: userID(name), UserName: name}
	reply := s.must(nodev1.Kind_KIND_CONVERSATION, room, p, &nodev1.Command{Body: &nodev1.Command_PostEvent{
		PostEvent: &nodev1.PostEvent{Type: kind, Body: []byte(body)}}})
	return reply.Event.Event.Sequence
}

// deliver makes one attempt at the row of an event and waits for its end.
func (s *scene) deliver(sequence uint64, attempt int) error {
	s.t.Helper()
	return s.deliverRow(s.t.Context(), s.rowOf(sequence), attempt)
}

func (s *scene) deliverRow(ctx context.Context, r *nodev1.OutboxRow, attempt int) error {
	s.t.Helper()
	done := make(chan error, 1)
	s.sink.Deliver(ctx, outbox.Delivery{Row: r, Attempt: attempt}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		s.t.Fatal("the delivery does not end")
		return nil
	}
}

func (s *scene) rowOf(sequence uint64) *nodev1.OutboxRow {
	return &nodev1.OutboxRow{TargetKind: nodev1.Kind_KIND_PUSH, ApplicationId: app, TargetId: "push", SourceId: room, CreatedMs: s.world.Now,
		Command: &nodev1.Command{Body: &nodev1.Command_DeliverEvent{DeliverEvent: &nodev1.DeliverEvent{Sequence: sequence}}}}
}

// wantTold compares which devices were told since the last call, one token for each time.
func (s *scene) wantTold(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for token, payloads := range s.told {
		for range payloads {
			got = append(got, token)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Errorf("told were %v, want %v", got, want)
	}
	clear(s.told)
}

// object is a decoded payload.
type object = map[string]any

func decode(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return o
}
