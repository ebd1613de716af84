package query_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"parley/actors/conversation/world"
	"parley/actors/query"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const (
	app    = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"
	shards = 4
)

var (
	admin = &nodev1.Principal{ApplicationId: app, Admin: true}
	room  = id.Derive(id.Conversation, app, "", "room")
)

func userOf(name string) string { return id.Derive(id.User, app, "", name) }

func asUser(name string) *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: app, UserId: userOf(name)}
}

type fatal interface{ Fatal(args ...any) }

func do(t fatal, w *world.World, kind nodev1.Kind, entity string, cmd *nodev1.Command) *nodev1.Reply {
	if cmd.Principal == nil {
		cmd.Principal = admin
	}
	results, err := w.Do(kind, app, entity, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	return results[0].Reply
}

func createRoom(t fatal, w *world.World, name string) string {
	con := id.Derive(id.Conversation, app, "", name)
	do(t, w, nodev1.Kind_KIND_CONVERSATION, con, &nodev1.Command{Body: &nodev1.Command_CreateConversation{
		CreateConversation: &nodev1.CreateConversation{Conversation: &eventv1.Conversation{Name: name}}}})
	return con
}

func createUser(t fatal, w *world.World, name string) string {
	do(t, w, nodev1.Kind_KIND_USER, userOf(name), &nodev1.Command{Body: &nodev1.Command_CreateUser{
		CreateUser: &nodev1.CreateUser{User: &eventv1.User{Name: name, Properties: []byte(`{"custom_data":{"k":1}}`), Channels: []byte(`{}`)}}}})
	return userOf(name)
}

func join(t fatal, w *world.World, con, name string) {
	do(t, w, nodev1.Kind_KIND_CONVERSATION, con, &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
		Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, NewMemberId: id.Derive(id.Member, app, con, name),
		User: &eventv1.Author{UserId: userOf(name), Name: name}}}})
}

func post(t fatal, w *world.World, eventType, body string) {
	do(t, w, nodev1.Kind_KIND_CONVERSATION, room, &nodev1.Command{Body: &nodev1.Command_PostEvent{
		PostEvent: &nodev1.PostEvent{Type: eventType, Body: []byte(body)}}})
}

// walk follows Next until the end and gives every page's reply. ask gets a page to fill in.
func walk(t fatal, page *nodev1.Page, ask func(*nodev1.Page) (*nodev1.Reply, error)) []*nodev1.Reply {
	var pages []*nodev1.Reply
	page = proto.CloneOf(page)
	for range 1000 {
		reply, err := ask(page)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, reply)
		if len(reply.Next) == 0 {
			return pages
		}
		page.After = reply.Next
	}
	t.Fatal("pages do not end")
	return nil
}

// TestPagesOfEvents: however a log is cut into pages, by size, by bytes, in either direction and
// under any filter, the pages together are the filtered range.
func TestPagesOfEvents(t *testing.T) {
	w := world.New(shards)
	createRoom(t, w, "room")
	types := []string{"text", "custom:a", "custom:b", "audio:say"}
	for i := range 60 {
		post(t, w, types[i*i%4], fmt.Sprintf(`{"text":"%d"}`, i))
	}
	rapid.Check(t, func(t *rapid.T) {
		l := &nodev1.ListEvents{
			Start: uint64(rapid.IntRange(0, 62).Draw(t, "start")), End: uint64(rapid.IntRange(0, 62).Draw(t, "end")),
			Types:    rapid.SampledFrom([][]string{nil, {"text"}, {"custom:*"}, {"text", "audio:*"}, {"*"}, {"none"}}).Draw(t, "types"),
			BytesMax: uint64(rapid.IntRange(0, 400).Draw(t, "bytes")),
		}
		page := &nodev1.Page{Size: uint32(rapid.IntRange(0, 9).Draw(t, "size")), Descending: rapid.Bool().Draw(t, "descending")}
		var got []uint64
		for _, reply := range walk(t, page, func(p *nodev1.Page) (*nodev1.Reply, error) {
			asked := proto.CloneOf(l)
			asked.Page = p
			return w.Ask(nodev1.Kind_KIND_CONVERSATION, app, room, &nodev1.Query{Principal: admin, Body: &nodev1.Query_ListEvents{ListEvents: asked}})
		}) {
			if page.Size > 0 && len(reply.Events) > int(page.Size) || len(reply.Positions) != len(reply.Events) || reply.Head.GetSequence() != 60 {
				t.Fatalf("%d events, %d positions, head %v", len(reply.Events), len(reply.Positions), reply.Head)
			}
			for _, e := range reply.Events {
				got = append(got, e.Event.Sequence)
			}
		}
		var want []uint64
		for i := range 60 {
			sequence, eventType := uint64(i+1), types[i*i%4]
			if sequence >= l.Start && (l.End == 0 || sequence <= l.End) && passes(l.Types, eventType) {
				want = append(want, sequence)
			}
		}
		if page.Descending {
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// passes is the oracle of the type filter.
func passes(filter []string, eventType string) bool {
	kind := eventType[:4] // "text", "cust", "audi"
	return filter == nil || slices.Equal(filter, []string{"*"}) || filter[0] == "text" && kind == "text" ||
		filter[0] == "custom:*" && kind == "cust" || len(filter) == 2 && kind == "audi"
}

// TestListings: the lists of all shards, merged by position, are in order of creation.
func TestListings(t *testing.T) {
	w := world.New(shards)
	var want []string
	for i := range 25 {
		w.Now += int64(i % 3)
		want = append(want, createRoom(t, w, "room"+strconv.Itoa(i)))
		createUser(t, w, "user"+strconv.Itoa(i))
	}
	type item struct {
		position []byte
		id       string
	}
	var all []item
	for shard := range shards {
		for _, reply := range walk(t, &nodev1.Page{Size: 2}, func(p *nodev1.Page) (*nodev1.Reply, error) {
			return w.Ask(nodev1.Kind_KIND_SHARD, app, strconv.Itoa(shard+1), &nodev1.Query{Principal: admin,
				Body: &nodev1.Query_ListConversations{ListConversations: &nodev1.ListConversations{Page: p}}})
		}) {
			for i, c := range reply.Conversations {
				all = append(all, item{reply.Positions[i], c.Id})
			}
		}
	}
	slices.SortFunc(all, func(a, b item) int { return slices.Compare(a.position, b.position) })
	last := int64(0)
	for i, it := range all {
		created, entity := keys.ListedEntity(it.position)
		if created < last || id.Format(id.Conversation, entity) != it.id {
			t.Fatalf("item %d: created %d after %d", i, created, last)
		}
		last = created
	}
	if len(all) != len(want) {
		t.Fatalf("%d listed, %d made", len(all), len(want))
	}
}

func TestListingRangeAndNames(t *testing.T) {
	w := world.New(1)
	start := w.Now
	for i := range 10 {
		w.Now = start + int64(i)
		createRoom(t, w, "room"+strconv.Itoa(i))
		createUser(t, w, "user"+strconv.Itoa(i))
	}
	ask := func(q *nodev1.Query) *nodev1.Reply {
		q.Principal = admin
		reply, err := w.Ask(nodev1.Kind_KIND_SHARD, app, "1", q)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	some := ask(&nodev1.Query{Body: &nodev1.Query_ListConversations{ListConversations: &nodev1.ListConversations{FromMs: start + 3, ToMs: start + 5}}})
	if len(some.Conversations) != 3 || some.Conversations[0].Name != "room3" {
		t.Errorf("range gives %d", len(some.Conversations))
	}
	one := ask(&nodev1.Query{Body: &nodev1.Query_ListUsers{ListUsers: &nodev1.ListUsers{Name: "user7"}}})
	if len(one.Users) != 1 || one.Users[0].Name != "user7" {
		t.Errorf("by name: %v", one.Users)
	}
}

// TestRefusals: who may not read is told so with a code, and what cannot be is refused.
func TestRefusals(t *testing.T) {
	w := world.New(shards)
	createRoom(t, w, "room")
	createUser(t, w, "ann")
	foreign := &nodev1.Principal{ApplicationId: id.Derive(id.Application, "", "", "other"), Admin: true}
	members := func(p *nodev1.Page) *nodev1.Query {
		return &nodev1.Query{Principal: admin, Body: &nodev1.Query_ListMembers{ListMembers: &nodev1.ListMembers{Page: p}}}
	}
	getUser := &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}
	mine := &nodev1.Query_ListMemberships{ListMemberships: &nodev1.ListMemberships{}}
	all := &nodev1.Query_ListUsers{ListUsers: &nodev1.ListUsers{}}
	con, user, shard := nodev1.Kind_KIND_CONVERSATION, nodev1.Kind_KIND_USER, nodev1.Kind_KIND_SHARD
	for _, c := range []struct {
		name   string
		kind   nodev1.Kind
		entity string
		q      *nodev1.Query
		want   code.Code
	}{
		{"page too large", con, room, members(&nodev1.Page{Size: 101}), code.ValidationFail},
		{"foreign position", con, room, members(&nodev1.Page{After: []byte("xyz")}), code.ValidationFail},
		{"no such conversation", con, id.Derive(id.Conversation, app, "", "x"), members(nil), code.ConversationNotFound},
		{"no conversation's id", con, "room", members(nil), code.ConversationNotFound},
		{"no such event", con, room, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetEvent{GetEvent: &nodev1.GetEvent{Sequence: 1}}}, code.EventNotFound},
		{"no such member", con, room, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetMember{GetMember: &nodev1.GetMember{MemberId: "me"}}}, code.MemberNotFound},
		{"user of another application", user, userOf("ann"), &nodev1.Query{Principal: foreign, Body: getUser}, code.UserNotFound},
		{"no such user", user, userOf("bob"), &nodev1.Query{Principal: admin, Body: getUser}, code.UserNotFound},
		{"another's conversations", user, userOf("ann"), &nodev1.Query{Principal: asUser("bob"), Body: mine}, code.Permission},
		{"listing by a user", shard, "1", &nodev1.Query{Principal: asUser("ann"), Body: all}, code.Permission},
		{"listing by a foreigner", shard, "1", &nodev1.Query{Principal: foreign, Body: all}, code.ApplicationNotFound},
		{"no such shard", shard, "9", &nodev1.Query{Principal: admin, Body: all}, code.NotFound},
		{"no query", con, room, &nodev1.Query{Principal: admin}, code.InvalidEvent},
		{"query of another kind", user, userOf("ann"), members(nil), code.Permission},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "query of another kind" {
				c.want = code.InvalidEvent
			}
			if _, err := w.Ask(c.kind, app, c.entity, c.q); !code.Has(err, c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestPublicPart: another user sees who somebody is, and nothing else.
func TestPublicPart(t *testing.T) {
	w := world.New(shards)
	createUser(t, w, "ann")
	ask := func(p *nodev1.Principal) *eventv1.User {
		reply, err := w.Ask(nodev1.Kind_KIND_USER, app, userOf("ann"), &nodev1.Query{Principal: p, Body: &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}})
		if err != nil {
			t.Fatal(err)
		}
		return reply.User
	}
	if u := ask(asUser("bob")); u.Name != "ann" || len(u.Properties) > 0 || len(u.Channels) > 0 || u.CreatedMs != 0 {
		t.Errorf("bob sees %v", u)
	}
	if u := ask(asUser("ann")); len(u.Properties) == 0 {
		t.Errorf("ann sees %v", u)
	}
}

func TestMembershipPages(t *testing.T) {
	w := world.New(shards)
	createUser(t, w, "ann")
	for i := range 9 {
		join(t, w, createRoom(t, w, "room"+strconv.Itoa(i)), "ann")
	}
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	for _, descending := range []bool{false, true} {
		seen := map[string]bool{}
		for _, reply := range walk(t, &nodev1.Page{Size: 2, Descending: descending}, func(p *nodev1.Page) (*nodev1.Reply, error) {
			return w.Ask(nodev1.Kind_KIND_USER, app, userOf("ann"), &nodev1.Query{Principal: asUser("ann"),
				Body: &nodev1.Query_ListMemberships{ListMemberships: &nodev1.ListMemberships{Page: p}}})
		}) {
			for _, m := range reply.Memberships {
				seen[m.ConversationId] = true
			}
		}
		if len(seen) != 9 {
			t.Errorf("descending=%v: %d of 9", descending, len(seen))
		}
	}
}

func TestNames(t *testing.T) {
	w := world.New(shards)
	ask := func(name string) *nodev1.Reply {
		reply, err := w.Ask(nodev1.Kind_KIND_NAME, app, name, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetName{GetName: &nodev1.GetName{}}})
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	if ask("user/ann").Exists || ask("nonsense").Exists {
		t.Error("a free name is held")
	}
	do(t, w, nodev1.Kind_KIND_NAME, "user/ann", &nodev1.Command{Body: &nodev1.Command_ReserveName{ReserveName: &nodev1.ReserveName{OwnerId: userOf("ann")}}})
	createUser(t, w, "ann")
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	if n := ask("user/ann"); !n.Exists || n.Name.OwnerId != userOf("ann") || !n.Name.Confirmed {
		t.Errorf("after the creation: %v", n)
	}
	do(t, w, nodev1.Kind_KIND_USER, userOf("ann"), &nodev1.Command{Body: &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}})
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	if ask("user/ann").Exists {
		t.Error("the name outlives its owner")
	}
	var none world.Rows
	if reply := query.Serve(none, shards, &nodev1.GrainRequest{}); reply.Error.GetCode() != string(code.InvalidEvent) {
		t.Errorf("an empty request gives %v", reply)
	}
}
