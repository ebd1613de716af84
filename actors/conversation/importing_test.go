package conversation_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/actors/conversation"
	"parley/actors/conversation/world"
	"parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const (
	importedAt = 1_500_000_000_000
	left       = eventv1.MemberState_MEMBER_STATE_LEFT
	joined     = eventv1.MemberState_MEMBER_STATE_JOINED
)

func importing(token uint64) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_ImportConversation{ImportConversation: &nodev1.ImportConversation{
		Conversation: &eventv1.Conversation{Name: "old", CreatedMs: importedAt, IdempotencyKey: conversation.ImportKey + "1"}, NameToken: token,
	}}}
}

func importMember(member, user string, state eventv1.MemberState) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_ImportMembers{ImportMembers: &nodev1.ImportMembers{Members: []*eventv1.Member{{
		Id: memberOf(member), User: author(userOf(user), user), State: state, JoinedMs: importedAt,
	}}}}}
}

func importEvent(sequence uint64, eventType, from, body string, receipts ...*eventv1.Receipt) *nodev1.Command {
	e := &eventv1.Event{Sequence: sequence, Type: eventType, FromMember: memberOf(from), Body: []byte(body), TimestampMs: importedAt + int64(sequence)}
	return &nodev1.Command{Body: &nodev1.Command_ImportEvents{ImportEvents: &nodev1.ImportEvents{
		Events: []*nodev1.ImportedEvent{{Event: e, Receipts: receipts}},
	}}}
}

func finishing(sequence, members uint64) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_FinishImport{FinishImport: &nodev1.FinishImport{Sequence: sequence, Members: members}}}
}

func (h hall) refused(c code.Code, p *nodev1.Principal, cmd *nodev1.Command) {
	h.t.Helper()
	if _, err := h.do(p, cmd); !code.Has(err, c) {
		h.t.Errorf("%T: %v, want %s", cmd.Body, err, c)
	}
}

// TestImport walks an import: every step twice, nothing seen or told before the end, and what may not be.
func TestImport(t *testing.T) {
	h := hall{world.New(shards), t}
	for range 2 {
		h.must(asAdmin(), importing(1))
		h.must(asAdmin(), importMember("ann1", "ann", left))
		h.must(asAdmin(), importMember("ann2", "ann", joined))
		h.must(asAdmin(), importMember("bob", "bob", joined))
		h.must(asAdmin(), importEvent(1, "member:joined", "bob", `{}`))
		h.must(asAdmin(), importEvent(2, "text", "ann1", `{"text":"hi"}`, &eventv1.Receipt{MemberId: memberOf("bob"), DeliveredMs: importedAt + 2}))
		h.must(asAdmin(), importEvent(3, "rtc:status", "bob", `{}`))
		h.must(asAdmin(), importEvent(4, "text:seen", "bob", `{"event_id":2}`))
	}
	for _, cmd := range []*nodev1.Command{importing(2), importMember("bob", "bob", joined), importEvent(5, "text", "bob", `{}`), finishing(4, 3)} {
		h.refused(code.Permission, asUser("bob"), cmd)
	}
	h.refused(code.ConversationNotFound, asUser("bob"), posting("text", `{"text":"too early"}`))
	h.refused(code.ConversationNotFound, asAdmin(), posting("text", `{"text":"too early"}`))
	h.refused(code.IdempotencyConflict, asAdmin(), importMember("bob", "bob", left))
	h.refused(code.IdempotencyConflict, asAdmin(), importEvent(2, "text", "ann1", `{"text":"other"}`))
	h.refused(code.InvalidMemberState, asAdmin(), importMember("bob2", "bob", joined))
	h.refused(code.ValidationFail, asAdmin(), importEvent(6, "text", "bob", `{}`))
	late := importEvent(5, "text", "bob", `{}`)
	late.GetImportEvents().Events[0].Event.TimestampMs = importedAt
	h.refused(code.ValidationFail, asAdmin(), late)
	late.GetImportEvents().Events[0].Event.TimestampMs = h.Now + 1<<20
	h.refused(code.ValidationFail, asAdmin(), late)
	h.refused(code.IdempotencyConflict, asAdmin(), finishing(3, 3))
	if len(h.Fanout) > 0 {
		t.Errorf("told before the end: %v", h.Fanout)
	}
	for range 2 {
		h.must(asAdmin(), finishing(4, 3))
	}
	h.refused(code.IdempotencyConflict, asAdmin(), importEvent(5, "text", "bob", `{}`))
	view := h.must(asUser("bob"), posting("text", `{"text":"on we go"}`))
	if view.Event.Event.Sequence != 5 || view.Event.Event.TimestampMs != h.Now || view.Head.Joined != 2 || view.Head.Members != 3 {
		t.Errorf("the first event after the import: %v", view)
	}
	reply, err := h.Ask(nodev1.Kind_KIND_CONVERSATION, app, room, &nodev1.Query{
		Principal: asUser("ann"), Body: &nodev1.Query_GetEvent{GetEvent: &nodev1.GetEvent{Sequence: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(reply.Event.Event.TimestampMs-importedAt, reply.Event.Receipts[0].DeliveredMs-importedAt, reply.Event.Receipts[0].SeenMs-importedAt)
	if got != "2 2 4" {
		t.Errorf("times of the event, of its delivery and of its reading: %s", got)
	}
}

// TestManyAreTold: all users of a large imported conversation find it in their lists, although no one
// write could hold all their profiles.
func TestManyAreTold(t *testing.T) {
	h := hall{world.New(shards), t}
	h.must(asAdmin(), importing(1))
	about := fmt.Appendf(nil, `{"custom_data":{"about":%q}}`, strings.Repeat("x", 9<<10))
	const many = conversation.AnnounceMembersMax + 72
	for i := range many {
		name := fmt.Sprint("u", i)
		made, err := h.Do(nodev1.Kind_KIND_USER, app, userOf(name), &nodev1.Command{Principal: asAdmin(), Body: &nodev1.Command_CreateUser{
			CreateUser: &nodev1.CreateUser{User: &eventv1.User{Name: name, Properties: about}}}})
		if err != nil || made[0].Err != nil {
			t.Fatal(err, made)
		}
		member := importMember(name, name, joined)
		member.GetImportMembers().Members[0].User = user.AuthorOf(made[0].Reply.User)
		h.must(asAdmin(), member)
	}
	h.must(asAdmin(), finishing(0, many))
	if err := h.Deliver(); err != nil {
		t.Fatal(err)
	}
	for i := range many {
		name := userOf(fmt.Sprint("u", i))
		reply, err := h.Ask(nodev1.Kind_KIND_USER, app, name, &nodev1.Query{Principal: asAdmin(), Body: &nodev1.Query_ListMemberships{
			ListMemberships: &nodev1.ListMemberships{Page: &nodev1.Page{Size: 1}}}})
		if err != nil || len(reply.GetMemberships()) != 1 {
			t.Fatalf("the list of user %d: %v %v", i, reply, err)
		}
	}
}

// TestImportAfterItWasGivenUp: somebody who wanted the name has ended an import that stopped half way. A
// later one, with a later reservation, makes the conversation; the old request, should it still come, not.
func TestImportAfterItWasGivenUp(t *testing.T) {
	h := hall{world.New(shards), t}
	h.must(asAdmin(), &nodev1.Command{Body: &nodev1.Command_Probe{Probe: &nodev1.Probe{Name: "old", Token: 1}}})
	h.refused(code.Unavailable, asAdmin(), importing(1))
	h.must(asAdmin(), importing(2))
	h.must(asAdmin(), finishing(0, 0))
}

// TestImportAbandoned: an import that nobody finishes can be deleted, by an administrator.
func TestImportAbandoned(t *testing.T) {
	h := hall{world.New(shards), t}
	h.must(asAdmin(), importing(1))
	h.must(asAdmin(), importMember("bob", "bob", joined))
	gone := func() *nodev1.Command {
		return &nodev1.Command{Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}}
	}
	h.refused(code.ConversationNotFound, asUser("bob"), gone())
	h.must(asAdmin(), gone())
	h.refused(code.IdempotencyConflict, asAdmin(), importing(2))
}
