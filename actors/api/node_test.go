package api_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"parley/actors/api"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// newNode opens a whole node over a disk in memory, and gives its API. An answer waits for the index of a user for as
// long as that takes.
func newNode(t *testing.T) *api.Service {
	o := solo.Options(t, vfs.NewMem())
	o.API.IndexWait = solo.Patience
	r := solo.Open(t, o)
	t.Cleanup(func() { solo.Close(t, r) })
	return r.API()
}

// TestMembershipsAreListedWhenAnswered: whoever was told of an invitation, its acceptance or a leaving
// finds it in the list of the user that it is about.
func TestMembershipsAreListedWhenAnswered(t *testing.T) {
	a := newNode(t)
	u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: "ann", Properties: []byte(`{"custom_data":{"k":1}}`)})
	if err != nil {
		t.Fatal(err)
	}
	bob, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	asAnn := &nodev1.Principal{ApplicationId: app, UserId: u.Id, UserName: u.Name}
	asBob := &nodev1.Principal{ApplicationId: app, UserId: bob.Id, UserName: bob.Name}
	for range 20 {
		c, _, err := a.CreateConversation(t.Context(), asBob, "", &eventv1.Conversation{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.AddMember(t.Context(), asBob, c.Id, "", api.UserRef{}, &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN}); err != nil {
			t.Fatal(err)
		}
		r, err := a.AddMember(t.Context(), asBob, c.Id, "", api.UserRef{Name: "ann"}, &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_INVITE})
		if err != nil || string(r.Member.User.CustomData) != `{"k":1}` {
			t.Fatal(r, err)
		}
		listed(t, a, asAnn, c.Id, eventv1.MemberState_MEMBER_STATE_INVITED)
		me := &nodev1.UpdateMember{MemberId: "me", Action: nodev1.MemberAction_MEMBER_ACTION_JOIN}
		if _, err := a.UpdateMember(t.Context(), asAnn, c.Id, "", me); err != nil {
			t.Fatal(err)
		}
		listed(t, a, asAnn, c.Id, eventv1.MemberState_MEMBER_STATE_JOINED)
		out := &nodev1.UpdateMember{MemberId: r.Member.Id, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}
		if _, err := a.UpdateMember(t.Context(), asBob, c.Id, "", out); err != nil {
			t.Fatal(err)
		}
		listed(t, a, asAnn, c.Id, eventv1.MemberState_MEMBER_STATE_LEFT)
	}
}

// TestOrderIsThatOfTheAnswers: what was created after another creation was answered is listed after it,
// however fast one follows the other, and over all shards.
func TestOrderIsThatOfTheAnswers(t *testing.T) {
	a := newNode(t)
	var conversations, users []string
	for range 100 {
		c, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{})
		if err != nil {
			t.Fatal(err)
		}
		conversations = append(conversations, c.Id)
		u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{})
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u.Id)
	}
	r, err := a.ListConversations(t.Context(), admin, nil, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Conversations {
		if c.Id != conversations[i] {
			t.Fatalf("%s is listed at %d", c.Id, i)
		}
	}
	if r, err = a.ListUsers(t.Context(), admin, nil, ""); err != nil {
		t.Fatal(err)
	}
	for i, u := range r.Users {
		if u.Id != users[i] {
			t.Fatalf("%s is listed at %d", u.Id, i)
		}
	}
}

// listed says that the newest of the user's conversations is con, in this state.
func listed(t *testing.T, a *api.Service, as *nodev1.Principal, con string, state eventv1.MemberState) {
	t.Helper()
	r, err := a.ListMemberships(t.Context(), as, as.UserId, &nodev1.Page{Size: 1, Descending: true}, []eventv1.MemberState{state})
	if err != nil || len(r.Memberships) != 1 || r.Memberships[0].ConversationId != con {
		t.Fatalf("%s is not listed as %s: %v, %v", con, state, r, err)
	}
}

// TestNameGoesBackAndForth: one conversation renames itself between two names as fast as it can while
// others want either. No name ever has two bearers, and nobody is left behind without one.
func TestNameGoesBackAndForth(t *testing.T) {
	a := newNode(t)
	names := [2]string{"a", "b"}
	first, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		for i := range 200 {
			_, _, err := a.UpdateConversation(t.Context(), admin, first.Id, &nodev1.UpdateConversation{Name: &names[(i+1)%2]})
			if err != nil && !code.Has(err, code.ConversationName) && !code.Has(err, code.Unavailable) {
				return err
			}
		}
		return nil
	})
	for i := range 2 {
		g.Go(func() error { return contend(t, a, names[i], over) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	all, err := a.ListConversations(t.Context(), admin, nil, 0, 0)
	if err != nil || len(all.Conversations) != 1 {
		t.Fatal(all, err)
	}
	if got, err := a.ResolveConversation(t.Context(), admin, all.Conversations[0].Name); err != nil || got != first.Id {
		t.Fatalf("%q is %q, %v", all.Conversations[0].Name, got, err)
	}
}

// contend takes a name whenever it is free, checks that nobody else bears it, and gives it back.
func contend(t *testing.T, a *api.Service, name string, over chan struct{}) error {
	for {
		select {
		case <-over:
			return nil
		default:
		}
		c, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: name})
		if code.Has(err, code.ConversationName) || code.Has(err, code.Unavailable) {
			continue
		}
		if err != nil {
			return err
		}
		all, err := a.ListConversations(t.Context(), admin, nil, 0, 0)
		if err != nil {
			return err
		}
		bearers := 0
		for _, other := range all.Conversations {
			if other.Name == name {
				bearers++
			}
		}
		if bearers != 1 {
			t.Errorf("%q has %d bearers", name, bearers)
		}
		if err := a.DeleteConversation(t.Context(), admin, c.Id); err != nil {
			return err
		}
	}
}
