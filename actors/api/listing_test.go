package api_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"parley/actors/api"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// heavy is a JSON object of about n bytes.
func heavy(n int) []byte { return fmt.Appendf(nil, `{"k":"%s"}`, bytes.Repeat([]byte{'x'}, n)) }

// pages follows Next to the end and gives all pages together.
func pages(t *testing.T, page *nodev1.Page, ask func(*nodev1.Page) (*nodev1.Reply, error)) (all []*nodev1.Reply) {
	t.Helper()
	page = &nodev1.Page{Size: page.Size, Descending: page.Descending}
	for range 1000 {
		r, err := ask(page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		if len(r.Next) == 0 {
			return all
		}
		page.After = r.Next
	}
	t.Fatal("pages do not end")
	return nil
}

var sizes = []*nodev1.Page{{}, {Size: 7}, {Size: 100}, {Descending: true}, {Size: 7, Descending: true}, {Size: 100, Descending: true}}

// TestListsAreInOrder: conversations and users are listed in order of creation over all shards, whole,
// in pages of any size and both ways, although answers of single shards are cut short by their
// bytes, which differ much from shard to shard. Each is listed as soon as its creation was answered.
func TestListsAreInOrder(t *testing.T) {
	w, _, a := newWorld(t)
	var conversations, users []string
	for i := range 150 {
		w.Now += int64(i % 2) // two have the same time, and are in order of their ids
		c := &eventv1.Conversation{}
		if i%5 != 0 {
			c.Properties = &eventv1.Properties{CustomData: heavy(16_000)}
		}
		made, _, err := a.CreateConversation(t.Context(), admin, "", c)
		if err != nil {
			t.Fatal(err)
		}
		conversations = append(conversations, fmt.Sprint(made.CreatedMs, made.Id))
		u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Properties: heavy(i * 100)})
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, fmt.Sprint(u.CreatedMs, u.Id))
		last, err := a.ListConversations(t.Context(), admin, &nodev1.Page{Size: 2, Descending: true}, 0, 0)
		if err != nil || !slices.ContainsFunc(last.Conversations, func(c *eventv1.Conversation) bool { return c.Id == made.Id }) {
			t.Fatalf("%s is not listed: %v", made.Id, err)
		}
		lastUsers, err := a.ListUsers(t.Context(), admin, &nodev1.Page{Size: 2, Descending: true}, "")
		if err != nil || !slices.ContainsFunc(lastUsers.Users, func(l *eventv1.User) bool { return l.Id == u.Id }) {
			t.Fatalf("%s is not listed: %v", u.Id, err)
		}
	}
	slices.Sort(conversations)
	slices.Sort(users)
	for _, page := range sizes {
		var gotC, gotU []string
		for _, r := range pages(t, page, func(p *nodev1.Page) (*nodev1.Reply, error) {
			return a.ListConversations(t.Context(), admin, p, 0, 0)
		}) {
			full(t, page, r, len(r.Conversations))
			for _, c := range r.Conversations {
				gotC = append(gotC, fmt.Sprint(c.CreatedMs, c.Id))
			}
		}
		for _, r := range pages(t, page, func(p *nodev1.Page) (*nodev1.Reply, error) { return a.ListUsers(t.Context(), admin, p, "") }) {
			full(t, page, r, len(r.Users))
			for _, u := range r.Users {
				gotU = append(gotU, fmt.Sprint(u.CreatedMs, u.Id))
			}
		}
		same(t, page, gotC, conversations)
		same(t, page, gotU, users)
	}
}

// full says that a page has as many items as were asked for, unless it is the last; and a position each.
func full(t *testing.T, page *nodev1.Page, r *nodev1.Reply, items int) {
	t.Helper()
	if len(r.Positions) != items || len(r.Next) > 0 && items != int(page.Size) || page.Size > 0 && items > int(page.Size) {
		t.Fatalf("%d items, %d positions in a page of %d, next %x", items, len(r.Positions), page.Size, r.Next)
	}
}

func same(t *testing.T, page *nodev1.Page, got, want []string) {
	t.Helper()
	if page.Descending {
		got = slices.Clone(got)
		slices.Reverse(got)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%v: %d are listed of %d, or in another order", page, len(got), len(want))
	}
}

// TestMembershipsAreInOrder: a user's conversations are listed in the order of their creation,
// whatever the order of joining, in pages both ways; one that is deleted disappears at once, before
// the user's index has heard of it, and leaves no short page.
func TestMembershipsAreInOrder(t *testing.T) {
	w, _, a := newWorld(t)
	ann, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	as := &nodev1.Principal{ApplicationId: app, UserId: ann.Id, UserName: ann.Name}
	var made []*eventv1.Conversation
	for range 40 {
		w.Now += 3
		c, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, c)
	}
	for i := range made {
		w.Now++
		c := made[i*7%len(made)]
		if _, err := a.AddMember(t.Context(), as, c.Id, "", api.UserRef{}, &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		var want []string
		for _, c := range made {
			want = append(want, c.Id)
		}
		for _, page := range sizes {
			same(t, page, conversationsOf(t, a, as, page), want)
		}
		if round == 1 { // now the index hears of it, too
			if err := w.Deliver(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := a.DeleteConversation(t.Context(), admin, made[3].Id); err != nil {
			t.Fatal(err)
		}
		made = slices.Delete(made, 3, 4)
	}
	stranger := &nodev1.Principal{ApplicationId: app, UserId: made[0].CreatorUser}
	if _, err := a.ListMemberships(t.Context(), stranger, ann.Id, nil, nil); !code.Has(err, code.Permission) {
		t.Fatalf("somebody else's conversations: %v", err)
	}
}

// conversationsOf lists the conversations of a user, page by page.
func conversationsOf(t *testing.T, a *api.Service, as *nodev1.Principal, page *nodev1.Page) (ids []string) {
	t.Helper()
	for _, r := range pages(t, page, func(p *nodev1.Page) (*nodev1.Reply, error) {
		return a.ListMemberships(t.Context(), as, as.UserId, p, nil)
	}) {
		full(t, page, r, len(r.Memberships))
		for i, m := range r.Memberships {
			if r.Conversations[i].Id != m.ConversationId {
				t.Fatal("memberships and conversations are not parallel")
			}
			ids = append(ids, m.ConversationId)
		}
	}
	return ids
}

// TestLargeAnswers: what one call gives may be larger than a message between nodes: events and members
// with large bodies come whole, each answer within the limit.
func TestLargeAnswers(t *testing.T) {
	_, _, a := newWorld(t)
	c, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{})
	if err != nil {
		t.Fatal(err)
	}
	const events, members = 60, 90
	for i := range events {
		body := fmt.Appendf(nil, `{"text":"%s"}`, bytes.Repeat([]byte{'x'}, 65_000-i))
		if _, err := a.Post(t.Context(), admin, c.Id, "", &nodev1.PostEvent{Type: "text", Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for range members {
		u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.AddMember(t.Context(), admin, c.Id, "", api.UserRef{ID: u.Id}, &nodev1.AddMember{
			Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Media: heavy(16_000),
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range sizes {
		sequences := 0
		for _, r := range pages(t, page, func(p *nodev1.Page) (*nodev1.Reply, error) {
			return a.ListEvents(t.Context(), admin, c.Id, &nodev1.ListEvents{Page: p})
		}) {
			full(t, page, r, len(r.Events))
			for _, e := range r.Events {
				sequences++
				want := uint64(sequences)
				if page.Descending {
					want = events + members + 1 - want
				}
				if e.Event.Sequence != want || r.Head.Sequence != events+members {
					t.Fatalf("%v: %d, want %d; head %d", page, e.Event.Sequence, want, r.Head.Sequence)
				}
			}
		}
		if sequences != events+members {
			t.Fatalf("%v: %d events", page, sequences)
		}
		listed := 0
		for _, r := range pages(t, page, func(p *nodev1.Page) (*nodev1.Reply, error) {
			return a.ListMembers(t.Context(), admin, c.Id, p, false)
		}) {
			full(t, page, r, len(r.Members))
			listed += len(r.Members)
		}
		if listed != members {
			t.Fatalf("%v: %d members", page, listed)
		}
	}
	whole, err := a.GetConversation(t.Context(), admin, c.Id, true)
	if err != nil || len(whole.Members) != members || whole.Conversation.GetId() != c.Id {
		t.Fatalf("%d members: %v", len(whole.GetMembers()), err)
	}
	short, err := a.ListEvents(t.Context(), admin, c.Id, &nodev1.ListEvents{BytesMax: 200_000})
	if err != nil || len(short.Events) != 3 || len(short.Next) == 0 {
		t.Fatalf("%d events in 200,000 bytes: %v", len(short.GetEvents()), err)
	}
}
