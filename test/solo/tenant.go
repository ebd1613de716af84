package solo

import (
	"strings"
	"sync"
	"testing"
	"time"

	"parley/actors/api"
	actor "parley/actors/conversation"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Tenant is an application with the first of the keys, as its administrator has it.
type Tenant struct {
	ID    string
	Admin *nodev1.Principal

	t   testing.TB
	api *api.Service
}

// NewTenant makes an application at a node; an empty id makes a new one.
func NewTenant(t testing.TB, a *api.Service, application string) *Tenant {
	t.Helper()
	if application == "" {
		application = id.New(id.Application)
	}
	row := &eventv1.Application{Id: application, Name: "tests", PublicKey: PublicKey(t, Key(t, 0))}
	if _, err := a.PutApplication(t.Context(), row, true); err != nil {
		t.Fatal(err)
	}
	return &Tenant{ID: application, Admin: &nodev1.Principal{ApplicationId: application, Admin: true}, t: t, api: a}
}

// At is the same tenant as asked for at another node.
func (a *Tenant) At(node *api.Service) *Tenant {
	return &Tenant{ID: a.ID, Admin: a.Admin, t: a.t, api: node}
}

// Token signs a token of a user that socket sessions need; the name "" is an administrator's.
func (a *Tenant) Token(user string, lasts time.Duration, change Claims) string {
	a.t.Helper()
	claims := Claims{"exp": time.Now().Add(lasts).Unix()}
	if user != "" {
		claims["sub"] = user
		claims["acl"] = Claims{"paths": Claims{"/*/sessions/**": Claims{}, "/*/users/**": Claims{}, "/*/conversations/**": Claims{}}}
	}
	for name, value := range change {
		claims[name] = value
	}
	return Token(a.t, a.ID, Key(a.t, 0), claims)
}

// User makes a user.
func (a *Tenant) User(u *eventv1.User) *eventv1.User {
	a.t.Helper()
	made, err := a.api.CreateUser(a.t.Context(), a.Admin, "", u)
	if err != nil {
		a.t.Fatal(err)
	}
	return made
}

// Conversation makes a conversation and gives its id.
func (a *Tenant) Conversation(c *eventv1.Conversation) string {
	a.t.Helper()
	made, _, err := a.api.CreateConversation(a.t.Context(), a.Admin, "", c)
	if err != nil {
		a.t.Fatal(err)
	}
	return made.Id
}

// Join makes a user a joined member of a conversation.
func (a *Tenant) Join(conversation string, u api.UserRef) *nodev1.Reply {
	a.t.Helper()
	r, err := a.api.AddMember(a.t.Context(), a.Admin, conversation, "", u,
		&nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(actor.AppChannel)})
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// fillAtOnce is how many events of Fill are on their way.
const fillAtOnce = 64

// Fill posts so many events of a kilobyte in each of several conversations.
func (a *Tenant) Fill(each int, conversations ...string) {
	a.t.Helper()
	body := []byte(`{"text":"` + strings.Repeat("x", 1<<10) + `"}`)
	var waiting sync.WaitGroup
	places := make(chan struct{}, fillAtOnce)
	for range each {
		for _, con := range conversations {
			places <- struct{}{}
			waiting.Add(1)
			a.api.PostAsync(a.t.Context(), a.Admin, con, "", &nodev1.PostEvent{Type: "custom:fill", Body: body},
				func(_ *nodev1.Reply, err error) {
					if err != nil {
						a.t.Error(err)
					}
					<-places
					waiting.Done()
				})
		}
	}
	waiting.Wait()
}
