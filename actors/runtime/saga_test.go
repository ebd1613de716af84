package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"parley/actors/api"
	"parley/actors/runtime"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

func newConversation(t testing.TB, a *api.Service, key, name string) *eventv1.Conversation {
	t.Helper()
	c, _, err := a.CreateConversation(t.Context(), admin, key, &eventv1.Conversation{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newUser(t testing.TB, a *api.Service, name string) *eventv1.User {
	t.Helper()
	u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func join(t testing.TB, a *api.Service, con, usr string) *nodev1.Reply {
	t.Helper()
	r, err := a.AddMember(t.Context(), admin, con, "join "+usr, api.UserRef{ID: usr}, &nodev1.AddMember{
		Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(`{"type":"app"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func as(u *eventv1.User) *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: app, UserId: u.Id, UserName: u.Name}
}

// TestNameIsFreeAtOnce: a deleted conversation's or user's name can be taken as soon as the
// deletion was answered, every time.
func TestNameIsFreeAtOnce(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	a := r.API()
	for range 30 {
		c := newConversation(t, a, "", "tea")
		if _, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: "tea"}); !code.Has(err, code.ConversationName) {
			t.Fatalf("the name was given twice: %v", err)
		}
		if err := a.DeleteConversation(t.Context(), admin, c.Id); err != nil {
			t.Fatal(err)
		}
		if _, err := a.GetConversation(t.Context(), admin, c.Id, false); !code.Has(err, code.ConversationNotFound) {
			t.Fatalf("a deleted conversation answers: %v", err)
		}
		u := newUser(t, a, "ann")
		if _, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: "ann"}); !code.Has(err, code.UserName) {
			t.Fatalf("the name was given twice: %v", err)
		}
		if err := a.DeleteUser(t.Context(), admin, u.Id); err != nil {
			t.Fatal(err)
		}
		if _, err := a.GetUser(t.Context(), admin, api.UserRef{Name: "ann"}); !code.Has(err, code.UserNotFound) {
			t.Fatalf("a deleted user answers: %v", err)
		}
	}
}

// TestConcurrentCreates: of many that want one name exactly one gets it, all others are told that
// it is taken.
func TestConcurrentCreates(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	for round := range 10 {
		var g errgroup.Group
		var mu sync.Mutex
		won := map[string]bool{}
		for range 16 {
			g.Go(func() error {
				for {
					c, _, err := r.API().CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: fmt.Sprint("round ", round)})
					switch {
					case code.Has(err, code.ConversationName):
						return nil
					case code.Has(err, code.Unavailable):
						continue // it changed hands too fast, as it does where all takes long
					}
					mu.Lock()
					defer mu.Unlock()
					won[c.GetId()] = true
					return err
				}
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if len(won) != 1 {
			t.Fatalf("round %d: %d won the name", round, len(won))
		}
	}
}

// TestRename: the new name is held, the old one becomes free, a name in use is refused and a
// refused rename keeps nothing.
func TestRename(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	a := r.API()
	tea, milk := newConversation(t, a, "", "tea"), newConversation(t, a, "", "milk")
	name := func(s string) *nodev1.UpdateConversation { return &nodev1.UpdateConversation{Name: &s} }
	if _, _, err := a.UpdateConversation(t.Context(), admin, tea.Id, name("milk")); !code.Has(err, code.ConversationName) {
		t.Fatalf("a name in use was given away: %v", err)
	}
	got, _, err := a.UpdateConversation(t.Context(), admin, tea.Id, name("chai"))
	if err != nil || got.Name != "chai" {
		t.Fatal(got, err)
	}
	if found, err := a.ResolveConversation(t.Context(), admin, "chai"); err != nil || found != tea.Id {
		t.Fatal(found, err)
	}
	if _, _, err := a.UpdateConversation(t.Context(), admin, tea.Id, name("chai")); err != nil {
		t.Fatalf("keeping the own name: %v", err)
	}
	if _, _, err := a.UpdateConversation(t.Context(), admin, id.New(id.Conversation), name("cocoa")); !code.Has(err, code.ConversationNotFound) {
		t.Fatalf("renaming what is not there: %v", err)
	}
	newConversation(t, a, "", "cocoa")
	if got, _, err = a.UpdateConversation(t.Context(), admin, milk.Id, name("soy")); err != nil || got.Name != "soy" {
		t.Fatal(got, err)
	}
	ann := newUser(t, a, "ann")
	to := "anna"
	if u, err := a.UpdateUser(t.Context(), admin, ann.Id, &nodev1.UpdateUser{Name: &to}); err != nil || u.Name != to {
		t.Fatal(u, err)
	}
	if u, err := a.GetUser(t.Context(), admin, api.UserRef{Name: to}); err != nil || u.Id != ann.Id {
		t.Fatal(u, err)
	}
}

// stopper is a context that ends when the saga has come to its nth call.
type stopper struct {
	api.Caller
	calls, stopAfter int
}

var errStopped = errors.New("stopped")

// Ask lets the first stopAfter commands through; after that nothing leaves, as if the node that
// ran the saga had died.
func (s *stopper) Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	if req.Command != nil {
		if s.calls == s.stopAfter {
			return nil, errStopped
		}
		s.calls++
	}
	return s.Caller.Ask(ctx, req)
}

// TestCreationStopsAnywhere stops the saga of a creation after each of its steps. A retry with
// the same key then finishes it; and where there is no retry, the name is not lost.
func TestCreationStopsAnywhere(t *testing.T) {
	for stopAfter := range 3 {
		for _, retried := range []bool{true, false} {
			t.Run(fmt.Sprintf("after=%d/retried=%v", stopAfter, retried), func(t *testing.T) {
				fs := vfs.NewMem()
				o := options(t, fs)
				r := open(t, o)
				dying, err := runtime.StoppedAPI(r, func(c api.Caller) api.Caller { return &stopper{Caller: c, stopAfter: stopAfter} })
				if err != nil {
					t.Fatal(err)
				}
				first, _, err := dying.CreateConversation(t.Context(), admin, "key", &eventv1.Conversation{Name: "tea"})
				if done := stopAfter >= 2; done != (err == nil) || !done && !code.Has(err, code.Unknown) {
					t.Fatalf("stopped after %d: %v", stopAfter, err)
				}
				closed(t, r)
				r = open(t, options(t, fs))
				defer closed(t, r)
				if !retried {
					_, _, err := r.API().CreateConversation(t.Context(), admin, "other key", &eventv1.Conversation{Name: "tea"})
					if first == nil && err != nil || first != nil && !code.Has(err, code.ConversationName) {
						t.Fatalf("the name of a creation that stopped after %d: %v", stopAfter, err)
					}
					return
				}
				again := newConversation(t, r.API(), "key", "tea")
				if first != nil && first.Id != again.Id {
					t.Fatalf("the retry made another one: %s, %s", first.Id, again.Id)
				}
				if owner, err := r.API().ResolveConversation(t.Context(), admin, "tea"); err != nil || owner != again.Id {
					t.Fatal(owner, err)
				}
			})
		}
	}
}

// TestListsAreMerged: lists over all shards are in order of creation, whole, and paged both ways
// without a repeat or a hole; an answered create is listed at once.
func TestListsAreMerged(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	a := r.API()
	const n = 25
	made := map[string]int{}
	for i := range n {
		c := newConversation(t, a, "", "")
		made[c.Id] = i
		l, err := a.ListConversations(t.Context(), admin, &nodev1.Page{Size: 100}, 0, 0)
		if err != nil || len(l.Conversations) != i+1 {
			t.Fatalf("%d are listed after %d creates: %v", len(l.GetConversations()), i+1, err)
		}
		newUser(t, a, fmt.Sprint("user ", i))
	}
	for _, descending := range []bool{false, true} {
		page := &nodev1.Page{Size: 7, Descending: descending}
		seen, last := map[string]bool{}, int64(-1)
		for {
			l, err := a.ListConversations(t.Context(), admin, page, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range l.Conversations {
				if seen[c.Id] {
					t.Fatalf("%s is listed twice", c.Id)
				}
				seen[c.Id] = true
				if last >= 0 && (c.CreatedMs < last) != descending && c.CreatedMs != last {
					t.Fatalf("out of order: %d after %d", c.CreatedMs, last)
				}
				last = c.CreatedMs
			}
			if len(l.Next) == 0 {
				break
			}
			page.After = l.Next
		}
		if len(seen) != n {
			t.Fatalf("%d of %d are listed", len(seen), n)
		}
	}
	users, err := a.ListUsers(t.Context(), admin, &nodev1.Page{Size: 10}, "user 7")
	if err != nil || len(users.Users) != 1 || users.Users[0].Name != "user 7" {
		t.Fatal(users, err)
	}
	users, err = a.ListUsers(t.Context(), admin, &nodev1.Page{Size: 10}, "")
	if err != nil || len(users.Users) != 10 || len(users.Next) == 0 {
		t.Fatal(users, err)
	}
}

// TestJoinIsIndexedWhenAnswered: who was told of a join finds it in the joiner's own list.
func TestJoinIsIndexedWhenAnswered(t *testing.T) {
	o := options(t, vfs.NewMem())
	o.API.IndexWait = solo.Patience
	r := open(t, o)
	defer closed(t, r)
	a := r.API()
	ann := newUser(t, a, "ann")
	for i := range 20 {
		c := newConversation(t, a, "", "")
		join(t, a, c.Id, ann.Id)
		mine, err := a.ListMemberships(t.Context(), as(ann), ann.Id, nil, nil)
		if err != nil || len(mine.Memberships) != i+1 {
			t.Fatalf("%d memberships after %d joins: %v", len(mine.GetMemberships()), i+1, err)
		}
	}
}

// TestApplicationsAndCredentials: what was put is read at once, and again after a restart.
func TestApplicationsAndCredentials(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, options(t, fs))
	a := r.API()
	made, err := a.PutApplication(t.Context(), &eventv1.Application{Name: "demo", PublicKey: "PEM"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Application(t.Context(), made.Id); err != nil || got.Name != "demo" {
		t.Fatal(got, err)
	}
	made.Name = "renamed"
	if _, err := a.PutApplication(t.Context(), made, false); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Application(t.Context(), made.Id); err != nil || got.Name != "renamed" {
		t.Fatal(got, err)
	}
	first, err := a.PutCredential(t.Context(), &eventv1.Credential{Key: "k1", Hash: []byte("h")}, true)
	if err != nil || first.Key != "k1" {
		t.Fatal(first, err)
	}
	if kept, err := a.PutCredential(t.Context(), &eventv1.Credential{Key: "k2", Hash: []byte("h")}, true); err != nil || kept.Key != "k1" {
		t.Fatal(kept, err)
	}
	closed(t, r)
	r = open(t, options(t, fs))
	defer closed(t, r)
	a = r.API()
	if got, err := a.Application(t.Context(), made.Id); err != nil || got.Name != "renamed" {
		t.Fatal(got, err)
	}
	if l, err := a.ListApplications(t.Context(), &nodev1.Page{Size: 10}); err != nil || len(l.Applications) != 1 {
		t.Fatal(l, err)
	}
	if _, err := a.Credential(t.Context(), "k2"); !code.Has(err, code.InvalidCredentials) {
		t.Fatal(err)
	}
	if c, err := a.Credential(t.Context(), "k1"); err != nil || c.Key != "k1" {
		t.Fatal(c, err)
	}
	if err := a.DeleteApplication(t.Context(), made.Id); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Application(t.Context(), made.Id); !code.Has(err, code.ApplicationNotFound) {
		t.Fatal(err)
	}
}
