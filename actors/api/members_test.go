package api_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"parley/actors/api"
	"parley/actors/conversation/world"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestTheIndexIsBroughtWhereNoAckIsHeard: at a node that does not lead a conversation, too, whoever was told of a joining or
// leaving finds it in the list of the user that it is about, be it the oldest of many; that the outbox brings the same later changes nothing.
func TestTheIndexIsBroughtWhereNoAckIsHeard(t *testing.T) {
	w, _, a := newWorld(t)
	ann, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	state := func(conversation string) eventv1.MemberState {
		t.Helper()
		for _, m := range list(t, w, ann.Id).Memberships {
			if m.ConversationId == conversation {
				return m.State
			}
		}
		return eventv1.MemberState_MEMBER_STATE_UNSPECIFIED
	}
	var first, member string
	for i := range 12 {
		c, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.AddMember(t.Context(), admin, c.Id, "", api.UserRef{ID: ann.Id}, &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN})
		if err != nil {
			t.Fatal(err)
		}
		if state(c.Id) != eventv1.MemberState_MEMBER_STATE_JOINED {
			t.Errorf("conversation %d is not listed when its joining is answered", i)
		}
		if i == 0 {
			first, member = c.Id, r.Member.Id
		}
	}
	out := &nodev1.UpdateMember{MemberId: member, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}
	if _, err := a.UpdateMember(t.Context(), admin, first, "", out); err != nil {
		t.Fatal(err)
	}
	if state(first) != eventv1.MemberState_MEMBER_STATE_LEFT {
		t.Error("the leaving is not listed when it is answered")
	}
	before := list(t, w, ann.Id)
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	if after := list(t, w, ann.Id); !proto.Equal(before, after) {
		t.Errorf("the outbox has changed the index: %d memberships, then %d", len(before.Memberships), len(after.Memberships))
	}
}

// list gives the memberships in a user's own index.
func list(t *testing.T, w *world.World, user string) *nodev1.Reply {
	t.Helper()
	r, err := w.Ask(nodev1.Kind_KIND_USER, app, user, &nodev1.Query{Principal: admin, Body: &nodev1.Query_ListMemberships{
		ListMemberships: &nodev1.ListMemberships{Page: &nodev1.Page{Size: 100}, States: everyState}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var everyState = []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_INVITED, eventv1.MemberState_MEMBER_STATE_JOINED, eventv1.MemberState_MEMBER_STATE_LEFT}
