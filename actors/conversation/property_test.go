package conversation_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"parley/actors/conversation"
	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const shards = 4

var (
	room   = id.Derive(id.Conversation, app, "", "room")
	people = []string{"ann", "bob", "cid"}
	entity = grain.Entity{Shard: keys.ShardOf(app, room, shards), Kind: nodev1.Kind_KIND_CONVERSATION, Application: app, ID: room}
)

func userOf(name string) string { return id.Derive(id.User, app, "", name) }

func asUser(name string) *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: app, UserId: userOf(name), UserName: name}
}

func asAdmin() *nodev1.Principal { return &nodev1.Principal{ApplicationId: app, Admin: true} }

// drawCommand makes any command that somebody could send. n makes its ids unique.
func drawCommand(t *rapid.T, n int) *nodev1.Command {
	who := rapid.SampledFrom(people).Draw(t, "who")
	whom := rapid.SampledFrom(people).Draw(t, "whom")
	cmd := &nodev1.Command{Principal: asUser(who)}
	if rapid.IntRange(0, 4).Draw(t, "admin") == 0 {
		cmd.Principal = asAdmin()
	}
	if rapid.Bool().Draw(t, "retried") {
		cmd.ClientId = "c" + strconv.Itoa(rapid.IntRange(0, 9).Draw(t, "client"))
	}
	event := uint64(rapid.IntRange(0, 12).Draw(t, "event"))
	action := rapid.SampledFrom([]nodev1.MemberAction{1, 2}).Draw(t, "action")
	member := id.Derive(id.Member, app, "", fmt.Sprint(rapid.IntRange(0, n).Draw(t, "member")))
	switch rapid.IntRange(0, 9).Draw(t, "verb") {
	case 0, 1, 2:
		cmd.Body = &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{Action: action,
			NewMemberId: id.Derive(id.Member, app, "", fmt.Sprint(n)), User: author(userOf(whom), whom)}}
	case 3:
		cmd.Body = &nodev1.Command_UpdateMember{UpdateMember: &nodev1.UpdateMember{MemberId: "me",
			Action: rapid.SampledFrom([]nodev1.MemberAction{1, 3}).Draw(t, "update")}}
	case 4:
		cmd.Body = &nodev1.Command_UpdateMember{UpdateMember: &nodev1.UpdateMember{MemberId: member, Action: 3}}
	case 5, 6:
		types := []string{"text", "text:seen", "image:delivered", "custom:x", "text:typing:on"}
		cmd.Body = &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: rapid.SampledFrom(types).Draw(t, "type"),
			Body: fmt.Appendf(nil, `{"text":"%d","event_id":%d}`, n, event)}}
	case 7:
		cmd.Body = &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: event}}
	case 8:
		cmd.Body = &nodev1.Command_AdvanceCursor{AdvanceCursor: &nodev1.AdvanceCursor{Seen: event, Delivered: event / 2}}
	default:
		cmd.Body = &nodev1.Command_UserChanged{UserChanged: &nodev1.UserChanged{
			User: author(userOf(whom), whom+"2"), Deleted: rapid.Bool().Draw(t, "deleted")}}
	}
	return cmd
}

// TestTwins: a world that decides commands in batches on machines that live on, and one that
// decides each alone on a machine just loaded from rows, answer the same and end in the same rows.
func TestTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batched, single := world.New(shards), world.New(shards)
		single.Forgetful = true
		create := &nodev1.Command{Principal: asUser("ann"), Body: &nodev1.Command_CreateConversation{
			CreateConversation: &nodev1.CreateConversation{Conversation: &eventv1.Conversation{Name: "room"}}}}
		both(t, batched, single, create)
		n := 0
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			var batch []*nodev1.Command
			for range rapid.IntRange(1, 8).Draw(t, "commands") {
				n++
				batch = append(batch, drawCommand(t, n))
			}
			step := int64(rapid.IntRange(-3, 9).Draw(t, "clock"))
			batched.Now, single.Now = batched.Now+step, single.Now+step
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				batched.Restart()
			}
			both(t, batched, single, batch...)
			checkRows(t, batched.Rows())
		}
		a, b := withoutRevisions(batched.Rows()), withoutRevisions(single.Rows())
		if !maps.EqualFunc(a, b, bytes.Equal) {
			t.Fatalf("rows differ:\n%x\n%x", a, b)
		}
	})
}

func both(t *rapid.T, batched, single *world.World, batch ...*nodev1.Command) {
	rows, _ := conversation.RowsOf(entity)
	before, err := rows.Head(batched.Rows())
	if err != nil {
		t.Fatal(err)
	}
	got, err := batched.Do(nodev1.Kind_KIND_CONVERSATION, app, room, batch...)
	if err != nil {
		t.Fatal(err)
	}
	for i, cmd := range batch {
		alone, err := single.Do(nodev1.Kind_KIND_CONVERSATION, app, room, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got[i].Reply, alone[0].Reply) || fmt.Sprint(got[i].Err) != fmt.Sprint(alone[0].Err) {
			t.Fatalf("command %d (%v): %v, %v in a batch; %v, %v alone", i, cmd, got[i].Reply, got[i].Err, alone[0].Reply, alone[0].Err)
		}
		if got[i].Proven && (got[i].Writes || got[i].Reply.Event.Event.Sequence > before.Sequence) {
			t.Fatalf("command %d calls proven what is not yet committed", i)
		}
		checkCoded(t, got[i].Err)
	}
}

func checkCoded(t *rapid.T, err error) {
	var coded *code.Error
	if err != nil && !errors.As(err, &coded) {
		t.Fatalf("an error without a code: %v", err)
	}
}

// withoutRevisions drops the part of head rows that counts batches.
func withoutRevisions(rows world.Rows) world.Rows {
	out := world.Rows{}
	head := string(keys.Head(entity.Shard, parsed(id.Application, app), parsed(id.Conversation, room), keys.KindConversation))
	for key, value := range rows {
		if key == head {
			value = value[8:]
		}
		out[key] = value
	}
	return out
}

func parsed(p id.Prefix, s string) keys.UUID {
	u, err := id.Parse(p, s)
	if err != nil {
		panic(err)
	}
	return u
}

// checkRows states what holds of a conversation's rows at any time.
func checkRows(t *rapid.T, r world.Rows) {
	rows, _ := conversation.RowsOf(entity)
	head, err := rows.Head(r)
	if err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	clients := map[string]uint64{}
	for sequence := uint64(1); sequence <= head.Sequence; sequence++ {
		e, err := rows.Event(r, sequence)
		if err != nil || e == nil || e.Sequence != sequence {
			t.Fatalf("hole at %d of %d: %v %v", sequence, head.Sequence, e, err)
		}
		if e.TimestampMs < last {
			t.Fatalf("event %d is earlier than the one before", sequence)
		}
		last = e.TimestampMs
		scope := e.FromUser + "/" + e.ClientId
		if e.Type == "text" && e.ClientId != "" && clients[scope] != 0 {
			t.Fatalf("client id %s stored %d and %d", scope, clients[scope], sequence)
		}
		if e.Type == "text" {
			clients[scope] = sequence
		}
	}
	if beyond, _ := rows.Event(r, head.Sequence+1); beyond != nil {
		t.Fatalf("event %d is above the head", head.Sequence+1)
	}
	checkMembers(t, r, rows, head)
}

func checkMembers(t *rapid.T, r world.Rows, rows conversation.Rows, head *eventv1.Head) {
	var all []*eventv1.Member
	err := rows.Members(r, 1, head.Members, false, func(m *eventv1.Member) bool {
		all = append(all, m)
		return true
	})
	if err != nil || uint64(len(all)) != head.Members {
		t.Fatalf("%d members of %d, %v", len(all), head.Members, err)
	}
	joined, present := uint64(0), map[string]int{}
	for i, m := range all {
		if m.Ordinal != uint64(i)+1 {
			t.Fatalf("member %d has ordinal %d", i+1, m.Ordinal)
		}
		if m.State == eventv1.MemberState_MEMBER_STATE_JOINED {
			joined++
		}
		if m.State != eventv1.MemberState_MEMBER_STATE_LEFT {
			present[m.User.UserId]++
		}
	}
	if joined != head.Joined {
		t.Fatalf("%d joined, head says %d", joined, head.Joined)
	}
	for _, user := range slices.Sorted(maps.Keys(present)) {
		newest, _ := rows.MemberOfUser(r, user)
		if present[user] > 1 || newest == "" {
			t.Fatalf("user %s has %d present members, newest %q", user, present[user], newest)
		}
	}
}
