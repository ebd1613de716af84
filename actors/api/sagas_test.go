package api_test

import (
	"testing"

	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// TestGivenUpCreationIsRepeated: a creation with a key that somebody else, who wanted its name,
// declared dead half way still succeeds when it is asked for again; every later retry gets the same
// thing, also when it asks for another name; and once deleted the key is used up.
func TestGivenUpCreationIsRepeated(t *testing.T) {
	w, d, a := newWorld(t)
	d.before = func(req *nodev1.GrainRequest) error {
		if req.GetCommand().GetCreateConversation() != nil {
			return code.New(code.Unknown, "lost")
		}
		return nil
	}
	if _, _, err := a.CreateConversation(t.Context(), admin, "key", &eventv1.Conversation{Name: "tea"}); !code.Has(err, code.Unknown) {
		t.Fatal(err)
	}
	d.before = nil // the reservation has no owner, and is old: the world's clock stands in the past
	rival, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: "tea"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.CreateConversation(t.Context(), admin, "key", &eventv1.Conversation{Name: "tea"}); !code.Has(err, code.ConversationName) {
		t.Fatalf("the name is in use: %v", err)
	}
	made, _, err := a.CreateConversation(t.Context(), admin, "key", &eventv1.Conversation{Name: "milk"})
	if err != nil || made.Id == rival.Id || made.Name != "milk" {
		t.Fatal(made, err)
	}
	for _, name := range []string{"milk", "tea", "cocoa", ""} {
		again, _, err := a.CreateConversation(t.Context(), admin, "key", &eventv1.Conversation{Name: name})
		if err != nil || again.Id != made.Id || again.Name != "milk" {
			t.Fatalf("a retry with name %q: %v, %v", name, again, err)
		}
	}
	if err := a.DeleteConversation(t.Context(), admin, made.Id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.CreateConversation(t.Context(), admin, "key", &eventv1.Conversation{Name: "cocoa"}); !code.Has(err, code.IdempotencyConflict) {
		t.Fatalf("a used key: %v", err)
	}
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
}

// TestRefusedKeepsNothing: what is refused for its content or for who asks reserves no name, and a
// renaming that is refused after its reservation gives it back, but never a name that is borne.
func TestRefusedKeepsNothing(t *testing.T) {
	w, d, a := newWorld(t)
	ann := &nodev1.Principal{ApplicationId: app, UserId: id.New(id.User)}
	tea, _, err := a.CreateConversation(t.Context(), ann, "", &eventv1.Conversation{Name: "tea"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	eve := &nodev1.Principal{ApplicationId: app, UserId: id.New(id.User)}
	long := string(make([]byte, 3000))
	rows := len(w.Rows())
	for _, who := range []*nodev1.Principal{ann, eve} {
		for _, name := range []string{"tea", "milk"} {
			u := &nodev1.UpdateConversation{Name: &name}
			if who == ann {
				u.ImageUrl = &long
			}
			if _, _, err := a.UpdateConversation(t.Context(), who, tea.Id, u); err == nil {
				t.Fatalf("%s renamed it to %q", who.UserId, name)
			}
			if got, err := a.ResolveConversation(t.Context(), admin, "tea"); err != nil || got != tea.Id {
				t.Fatalf("after the refusal tea is %q, %v", got, err)
			}
		}
	}
	if _, _, err := a.CreateConversation(t.Context(), ann, "", &eventv1.Conversation{Name: "cocoa", ImageUrl: long}); !code.Has(err, code.ValidationFail) {
		t.Fatal(err)
	}
	if _, err := a.CreateUser(t.Context(), ann, "", &eventv1.User{Name: "cocoa"}); !code.Has(err, code.Permission) {
		t.Fatal(err)
	}
	if extra := len(w.Rows()) - rows; extra > 1 { // the head row of "milk", which ann reserved, stays
		t.Fatalf("refusals left %d rows", extra)
	}
	// A renaming to the own name that is refused while another has just made it so.
	to := "milk"
	d.before = func(req *nodev1.GrainRequest) error {
		if u := req.GetCommand().GetUpdateConversation(); u != nil {
			d.before = nil
			if _, err := w.Do(req.Kind, app, req.Id, req.Command); err != nil {
				t.Fatal(err)
			}
			return code.New(code.Permission, "refused")
		}
		return nil
	}
	if _, _, err := a.UpdateConversation(t.Context(), admin, tea.Id, &nodev1.UpdateConversation{Name: &to}); !code.Has(err, code.Permission) {
		t.Fatal(err)
	}
	if got, err := a.ResolveConversation(t.Context(), admin, "milk"); err != nil || got != tea.Id {
		t.Fatalf("a refused renaming freed the name that is borne: %q, %v", got, err)
	}
}

// TestOldNameIsFreeAtOnce: a name that its owner gave up is free before the outbox says so, and is
// not resolved to it any more; also when the renaming stopped half way.
func TestOldNameIsFreeAtOnce(t *testing.T) {
	w, d, a := newWorld(t)
	tea, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: "tea"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	to, lost := "chai", "cocoa"
	if _, _, err := a.UpdateConversation(t.Context(), admin, tea.Id, &nodev1.UpdateConversation{Name: &to}); err != nil {
		t.Fatal(err)
	}
	if got, err := a.ResolveConversation(t.Context(), admin, "tea"); !code.Has(err, code.ConversationNotFound) {
		t.Fatal(got, err)
	}
	d.before = func(req *nodev1.GrainRequest) error {
		if req.GetCommand().GetUpdateConversation() != nil {
			return code.New(code.Unknown, "lost")
		}
		return nil
	}
	if _, _, err := a.UpdateConversation(t.Context(), admin, tea.Id, &nodev1.UpdateConversation{Name: &lost}); !code.Has(err, code.Unknown) {
		t.Fatal(err)
	}
	d.before = nil
	for _, name := range []string{"tea", "cocoa"} {
		if _, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: name}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tea", "cocoa", "chai"} {
		if _, _, err := a.CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: name}); !code.Has(err, code.ConversationName) {
			t.Fatalf("%q was given twice: %v", name, err)
		}
	}
}
