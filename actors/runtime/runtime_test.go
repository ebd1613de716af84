package runtime_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"parley/actors/api"
	"parley/actors/runtime"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// memberlist does not wait for a probe that it has begun; it ends by its own timeout.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

const app = "0de7a7b5-0000-4000-8000-000000000001"

var admin = &nodev1.Principal{ApplicationId: app, Admin: true}

// options are for a small node in memory.
func options(t testing.TB, fs vfs.FS) runtime.Options {
	o := solo.Options(t, fs)
	o.Shards = 8
	return o
}

func open(t testing.TB, o runtime.Options) *runtime.Runtime {
	t.Helper()
	return solo.Open(t, o)
}

func closed(t testing.TB, r *runtime.Runtime) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestConversationEndToEnd walks the main job on one node, and again after a restart.
func TestConversationEndToEnd(t *testing.T) {
	fs := vfs.NewMem()
	o := options(t, fs)
	o.API.IndexWait = solo.Patience
	r := open(t, o)
	ctx := t.Context()
	ann, err := r.API().CreateUser(ctx, admin, "", &eventv1.User{Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	con, head, err := r.API().CreateConversation(ctx, admin, "key-1", &eventv1.Conversation{Name: "tea"})
	if err != nil || head.Sequence != 0 {
		t.Fatal(con, head, err)
	}
	member, err := r.API().AddMember(ctx, admin, con.Id, "", api.UserRef{Name: "ann"}, &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(`{"type":"app"}`)})
	if err != nil || member.Event.Event.Sequence != 1 {
		t.Fatal(member, err)
	}
	asAnn := &nodev1.Principal{ApplicationId: app, UserId: ann.Id, UserName: "ann"}
	for i := range 5 {
		posted, err := r.API().Post(ctx, asAnn, con.Id, "c"+string(rune('0'+i)), &nodev1.PostEvent{Type: "text", Body: []byte(`{"text":"hi"}`)})
		if err != nil || posted.Event.Event.Sequence != uint64(i+2) {
			t.Fatal(posted, err)
		}
	}
	mine, err := r.API().ListMemberships(ctx, asAnn, ann.Id, nil, nil)
	if err != nil || len(mine.Memberships) != 1 || mine.Conversations[0].Id != con.Id {
		t.Fatal(mine, err)
	}
	closed(t, r)

	r = open(t, options(t, fs))
	defer closed(t, r)
	again, err := r.API().Post(ctx, asAnn, con.Id, "c3", &nodev1.PostEvent{Type: "text", Body: []byte(`{"text":"hi"}`)})
	if err != nil || !again.Duplicate || again.Event.Event.Sequence != 5 {
		t.Fatal(again, err)
	}
	same, _, err := r.API().CreateConversation(ctx, admin, "key-1", &eventv1.Conversation{Name: "tea"})
	if err != nil || same.Id != con.Id {
		t.Fatal(same, err)
	}
	list, err := r.API().ListEvents(ctx, asAnn, con.Id, &nodev1.ListEvents{Page: &nodev1.Page{Size: 100}})
	if err != nil || len(list.Events) != 6 {
		t.Fatal(list, err)
	}
}
