package user_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/actors/conversation/row"
	"parley/actors/conversation/world"
	"parley/actors/user"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"

	"google.golang.org/protobuf/proto"
)

const app = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"

var (
	admin = &nodev1.Principal{ApplicationId: app, Admin: true}
	ann   = id.Derive(id.User, app, "", "ann")
	room  = id.Derive(id.Conversation, app, "", "room")
)

// each runs a test in a world that keeps its machines and in one that forgets them.
func each(t *testing.T, test func(t *testing.T, w *world.World)) {
	for _, forgetful := range []bool{false, true} {
		t.Run(fmt.Sprint("forgetful=", forgetful), func(t *testing.T) {
			w := world.New(3)
			w.Forgetful, w.Twice = forgetful, forgetful
			test(t, w)
		})
	}
}

func do(t *testing.T, w *world.World, p *nodev1.Principal, entity string, cmd *nodev1.Command) (*nodev1.Reply, error) {
	t.Helper()
	kind := nodev1.Kind_KIND_USER
	if strings.HasPrefix(entity, string(id.Conversation)) {
		kind = nodev1.Kind_KIND_CONVERSATION
	}
	cmd.Principal = p
	results, err := w.Do(kind, app, entity, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Reply, results[0].Err
}

func must(t *testing.T, w *world.World, entity string, cmd *nodev1.Command) *nodev1.Reply {
	t.Helper()
	reply, err := do(t, w, admin, entity, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func creating(u *eventv1.User) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_CreateUser{CreateUser: &nodev1.CreateUser{User: u}}}
}

func updating(u *nodev1.UpdateUser) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_UpdateUser{UpdateUser: u}}
}

func deleting() *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}}
}

func probing() *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_Probe{Probe: &nodev1.Probe{}}}
}

func indexing(m *eventv1.Membership) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_IndexMembership{IndexMembership: &nodev1.IndexMembership{Membership: m}}}
}

func TestLife(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		first := must(t, w, ann, creating(&eventv1.User{Name: "ann", IdempotencyKey: "k"}))
		again := must(t, w, ann, creating(&eventv1.User{Name: "other", IdempotencyKey: "k"}))
		if !again.Duplicate || !proto.Equal(first.User, again.User) {
			t.Errorf("repeated: %v", again)
		}
		if _, err := do(t, w, admin, ann, creating(&eventv1.User{Name: "x", IdempotencyKey: "k2"})); !code.Has(err, code.IdempotencyConflict) {
			t.Errorf("another key: %v", err)
		}
		if !must(t, w, ann, probing()).Exists {
			t.Error("probe does not find it")
		}
		w.Now += 5
		changed := must(t, w, ann, updating(&nodev1.UpdateUser{DisplayName: proto.String("Ann"), Properties: []byte(`{"custom_data":{"a":1}}`)}))
		if u := changed.User; u.Name != "ann" || u.DisplayName != "Ann" || u.UpdatedMs != u.CreatedMs+5 {
			t.Errorf("updated: %v", u)
		}
		if author := user.AuthorOf(changed.User); string(author.CustomData) != `{"a":1}` || author.DisplayName != "Ann" {
			t.Errorf("author: %v", author)
		}
		gone := must(t, w, ann, deleting())
		if gone.User.Name != "" || gone.User.DeletedMs == 0 || len(gone.User.Properties) > 0 {
			t.Errorf("the tombstone keeps %v", gone.User)
		}
		for what, cmd := range map[string]*nodev1.Command{"delete": deleting(), "update": updating(&nodev1.UpdateUser{})} {
			if _, err := do(t, w, admin, ann, cmd); !code.Has(err, code.UserNotFound) {
				t.Errorf("%s after deletion: %v", what, err)
			}
		}
		if must(t, w, ann, probing()).Exists {
			t.Error("probe finds a deleted user")
		}
		if _, err := do(t, w, admin, ann, creating(&eventv1.User{Name: "ann", IdempotencyKey: "k"})); !code.Has(err, code.IdempotencyConflict) {
			t.Errorf("created again: %v", err)
		}
	})
}

// TestNever: a user that was asked for before it was created is never created.
func TestNever(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		for range 2 {
			if must(t, w, ann, probing()).Exists {
				t.Error("exists")
			}
		}
		if late := must(t, w, ann, creating(&eventv1.User{Name: "ann"})); !late.User.Never {
			t.Errorf("late creation: %v", late)
		}
	})
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		what string
		p    *nodev1.Principal
		user *eventv1.User
		want code.Code
	}{
		{"no name", admin, &eventv1.User{}, code.ValidationFail},
		{"nothing", admin, nil, code.ValidationFail},
		{"long name", admin, &eventv1.User{Name: strings.Repeat("ü", 101)}, code.ValidationFail},
		{"long display name", admin, &eventv1.User{Name: "a", DisplayName: strings.Repeat("x", 51)}, code.ValidationFail},
		{"properties", admin, &eventv1.User{Name: "a", Properties: []byte(`[]`)}, code.ValidationFail},
		{"by a user", &nodev1.Principal{ApplicationId: app, UserId: ann}, &eventv1.User{Name: "a"}, code.Permission},
		{"by another application", &nodev1.Principal{ApplicationId: "x", Admin: true}, &eventv1.User{Name: "a"}, code.UserNotFound},
	} {
		if _, err := do(t, world.New(3), c.p, ann, creating(c.user)); !code.Has(err, c.want) {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
	if _, err := do(t, world.New(3), admin, ann, creating(&eventv1.User{Name: strings.Repeat("ü", 100)})); err != nil {
		t.Errorf("a name of 100 characters: %v", err)
	}
}

// TestIndex: news change the index only when they are newer; a deleted conversation leaves it.
func TestIndex(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		state := func() string {
			reply, err := w.Ask(nodev1.Kind_KIND_USER, app, ann, &nodev1.Query{Principal: admin, Body: &nodev1.Query_ListMemberships{
				ListMemberships: &nodev1.ListMemberships{States: []eventv1.MemberState{1, 2, 3}}}})
			if err != nil {
				t.Fatal(err)
			}
			if len(reply.Memberships) == 0 {
				return "none"
			}
			return fmt.Sprint(reply.Memberships[0].State.Number(), "@", reply.Memberships[0].Sequence)
		}
		news := func(state eventv1.MemberState, sequence uint64, deleted bool) *nodev1.Command {
			return indexing(&eventv1.Membership{ConversationId: room, MemberId: "MEM", State: state, Sequence: sequence, ConversationDeleted: deleted})
		}
		for _, step := range []struct {
			cmd    *nodev1.Command
			want   string
			fanout int
		}{
			{news(1, 3, false), "1@3", 1}, {news(2, 5, false), "2@5", 1}, {news(1, 3, false), "2@5", 0}, {news(2, 5, false), "2@5", 0},
			{news(3, 9, false), "3@9", 1}, {news(3, 9, true), "none", 1}, {news(3, 9, true), "none", 0},
		} {
			w.Fanout = nil
			must(t, w, ann, step.cmd)
			if got := state(); got != step.want || len(w.Fanout) != step.fanout {
				t.Errorf("after %v: %s with %d fan-outs, want %s with %d", step.cmd, got, len(w.Fanout), step.want, step.fanout)
			}
		}
	})
}

// TestLateNewsOfADeletedConversation: a joining that a deposed leader still had on its way arrives after the
// conversation was deleted. It changes nothing and is told to nobody. So many of the last deletions are remembered, as
// long as the user is there.
func TestLateNewsOfADeletedConversation(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		news := func(n int, deleted bool) *nodev1.Command {
			return indexing(&eventv1.Membership{ConversationId: id.Derive(id.Conversation, app, "", fmt.Sprint(n)), MemberId: "MEM",
				State: eventv1.MemberState_MEMBER_STATE_JOINED, Sequence: 5, ConversationDeleted: deleted})
		}
		const all = user.DeletedMax + 3
		for n := range all {
			must(t, w, ann, news(n, false))
			must(t, w, ann, news(n, true))
			must(t, w, ann, news(n, true)) // again
		}
		rows := len(w.Rows())
		w.Fanout = nil
		for n := all - user.DeletedMax; n < all; n++ {
			must(t, w, ann, news(n, false))
		}
		if len(w.Rows()) != rows || len(w.Fanout) != 0 {
			t.Errorf("%d rows, before the late news %d; told %d times", len(w.Rows()), rows, len(w.Fanout))
		}
		must(t, w, ann, news(0, false)) // it has been forgotten, and lists leave it out
		if len(w.Rows()) != rows+2 {
			t.Errorf("more than %d are remembered", user.DeletedMax)
		}
		must(t, w, ann, deleting())
		settle(t, w)
		if _, kept, err := w.Rows().Get(keys.Deleted(keys.ShardOf(app, ann, 3), row.UUID(id.Application, app), row.UUID(id.User, ann))); kept || err != nil {
			t.Errorf("the deletions outlive the user: %v", err)
		}
	})
}

// TestUnknownUser: news for a user that never was, or of a malformed conversation, are swallowed.
func TestUnknownUser(t *testing.T) {
	w := world.New(3)
	for _, conversation := range []string{room, "nonsense", ""} {
		must(t, w, ann, indexing(&eventv1.Membership{ConversationId: conversation, Sequence: 1}))
	}
	if len(w.Rows()) != 0 {
		t.Error("something was stored")
	}
}

// joinRooms makes conversations, with ann in each of them.
func joinRooms(t *testing.T, w *world.World, many int) []string {
	t.Helper()
	rooms := make([]string, many)
	for i := range rooms {
		rooms[i] = id.Derive(id.Conversation, app, "", fmt.Sprint(i))
		must(t, w, rooms[i], &nodev1.Command{Body: &nodev1.Command_CreateConversation{CreateConversation: &nodev1.CreateConversation{
			Conversation: &eventv1.Conversation{Name: fmt.Sprint("room", i)}}}})
		must(t, w, rooms[i], &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
			Action: 1, NewMemberId: id.Derive(id.Member, app, "", "ann"), User: &eventv1.Author{UserId: ann, Name: "ann"}}}})
	}
	settle(t, w)
	return rooms
}

// TestManyConversations: a change of a large profile reaches every conversation of a large index, in
// steps that a write can hold, and a deletion makes the user leave all of them.
func TestManyConversations(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		about := fmt.Appendf(nil, `{"custom_data":{"about":%q}}`, strings.Repeat("x", 9<<10))
		must(t, w, ann, creating(&eventv1.User{Name: "ann", Properties: about}))
		rooms := joinRooms(t, w, 2*user.PropagateMax+7)
		must(t, w, ann, updating(&nodev1.UpdateUser{Name: proto.String("eve"), NameToken: 1}))
		settle(t, w)
		for _, r := range rooms {
			if m := memberIn(t, w, r); m.User.Name != "eve" {
				t.Fatalf("%s still knows %s", r, m.User.Name)
			}
		}
		must(t, w, ann, deleting())
		settle(t, w)
		for _, r := range rooms {
			if m := memberIn(t, w, r); m.State != eventv1.MemberState_MEMBER_STATE_LEFT {
				t.Fatalf("%s still has her %s", r, m.State)
			}
		}
	})
}

// TestADeletionBehindAnotherChange: a user is deleted while an earlier change is still being told, step by step. The last
// steps of that change find the user gone; all conversations hear of it nevertheless, and the index is empty in the end.
func TestADeletionBehindAnotherChange(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		rooms := joinRooms(t, w, user.PropagateMax+7)
		must(t, w, ann, updating(&nodev1.UpdateUser{DisplayName: proto.String("Ann")}))
		if err := w.DeliverOne(0, false); err != nil { // the first step
			t.Fatal(err)
		}
		must(t, w, ann, deleting())
		settle(t, w)
		for _, r := range rooms {
			if m := memberIn(t, w, r); m.State != eventv1.MemberState_MEMBER_STATE_LEFT {
				t.Fatalf("%s still has her %s", r, m.State)
			}
		}
		home, application, own := keys.ShardOf(app, ann, 3), row.UUID(id.Application, app), row.UUID(id.User, ann)
		for _, prefix := range [][]byte{keys.Memberships(home, application, own), keys.MembershipOrders(home, application, own)} {
			err := w.Rows().Scan(prefix, keys.End(prefix), false, func(key, _ []byte) (bool, error) {
				return false, fmt.Errorf("row %x outlives the user", key)
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// TestLateNewsOfAProfile: what a deposed leader still had on its way arrives after the newer profile,
// and again; so does a joining that read the profile before it changed. The newest one stays.
func TestLateNewsOfAProfile(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		made := must(t, w, ann, creating(&eventv1.User{Name: "ann"})).User
		must(t, w, room, &nodev1.Command{Body: &nodev1.Command_CreateConversation{CreateConversation: &nodev1.CreateConversation{
			Conversation: &eventv1.Conversation{Name: "room"}}}})
		member := func(action nodev1.MemberAction) *nodev1.Command {
			return &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
				Action: action, NewMemberId: id.Derive(id.Member, app, "", "ann"), User: user.AuthorOf(made)}}}
		}
		must(t, w, room, member(nodev1.MemberAction_MEMBER_ACTION_INVITE))
		settle(t, w)
		var told []*eventv1.Author
		for _, name := range []string{"Ann", "Ann B", "Ann"} {
			changed := must(t, w, ann, updating(&nodev1.UpdateUser{DisplayName: &name})).User
			told = append(told, user.AuthorOf(changed))
		}
		settle(t, w)
		for _, late := range []*eventv1.Author{told[1], told[0], user.AuthorOf(made)} {
			must(t, w, room, &nodev1.Command{Body: &nodev1.Command_UserChanged{UserChanged: &nodev1.UserChanged{User: late}}})
			if m := memberIn(t, w, room); !proto.Equal(m.User, told[2]) {
				t.Fatalf("after late news of %v: %v, want %v", late, m.User, told[2])
			}
		}
		must(t, w, room, member(nodev1.MemberAction_MEMBER_ACTION_JOIN))
		if m := memberIn(t, w, room); m.State != eventv1.MemberState_MEMBER_STATE_JOINED || !proto.Equal(m.User, told[2]) {
			t.Errorf("joined with an old profile: %v", m)
		}
		must(t, w, ann, deleting())
		settle(t, w)
		if m := memberIn(t, w, room); m.State != eventv1.MemberState_MEMBER_STATE_LEFT {
			t.Errorf("a deleted user is still a member: %v", m)
		}
	})
}

func settle(t *testing.T, w *world.World) {
	t.Helper()
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
}

func memberIn(t *testing.T, w *world.World, room string) *eventv1.Member {
	t.Helper()
	reply, err := w.Ask(nodev1.Kind_KIND_CONVERSATION, app, room, &nodev1.Query{Principal: admin,
		Body: &nodev1.Query_GetMember{GetMember: &nodev1.GetMember{MemberId: id.Derive(id.Member, app, "", "ann")}}})
	if err != nil {
		t.Fatal(err)
	}
	return reply.Member
}
