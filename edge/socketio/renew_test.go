package socketio

import (
	"context"
	"testing"
	"time"

	"parley/actors/api"
	"parley/edge/auth"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// one is a directory of one application and one user.
type one struct {
	application *eventv1.Application
	user        *eventv1.User
}

func (o one) Application(context.Context, string) (*eventv1.Application, error) {
	return o.application, nil
}

func (o one) GetUser(context.Context, *nodev1.Principal, api.UserRef) (*eventv1.User, error) {
	return o.user, nil
}

func (o one) Credential(context.Context, string) (*eventv1.Credential, error) {
	return nil, code.New(code.NotFound, "none")
}

// TestNobodyRenewsWhatHasEnded: who renews a session that ends at that moment is told, and does not take it for
// one that goes on.
func TestNobodyRenewsWhatHasEnded(t *testing.T) {
	key := solo.Key(t, 0)
	ann := &eventv1.User{Id: id.New(id.User), Name: "ann"}
	app := &eventv1.Application{Id: id.New(id.Application), PublicKey: solo.PublicKey(t, key)}
	verifier, err := auth.New(one{app, ann}, auth.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{handler: &Handler{Parts: Parts{Verifier: verifier}}}
	claims := &auth.Claims{ApplicationID: app.Id, UserID: ann.Id, UserName: ann.Name, ExpiresAt: time.Now()}
	s := &session{conn: c, claims: claims, principal: claims.Principal()}
	token := solo.Token(t, app.Id, key, solo.Claims{"sub": ann.Name, "acl": map[string]any{"paths": map[string]any{"/**": map[string]any{}}}})
	if err := s.Renew(t.Context(), token); !code.Has(err, code.SessionNotFound) {
		t.Errorf("a session that has ended is renewed: %v", err)
	}
}
