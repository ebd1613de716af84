package application_test

import (
	"strings"
	"testing"

	"parley/actors/application"
	"parley/actors/conversation/world"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const (
	android = eventv1.Platform_PLATFORM_ANDROID
	ios     = eventv1.Platform_PLATFORM_IOS
	valid   = eventv1.PushStatus_PUSH_STATUS_VALID
	invalid = eventv1.PushStatus_PUSH_STATUS_INVALID
)

func uploading(c *eventv1.PushCredential) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PutPushCredential{PutPushCredential: &nodev1.PutPushCredential{Credential: c}}}
}

func credential(id string, p eventv1.Platform) *eventv1.PushCredential {
	return &eventv1.PushCredential{Id: id, Platform: p, Kind: eventv1.PushKind_PUSH_KIND_TOKEN, Secret: []byte("s"), Status: valid, CheckedMs: 7}
}

func noting(p eventv1.Platform, id string, status eventv1.PushStatus, reason string) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_NotePush{NotePush: &nodev1.NotePush{Platform: p, CredentialId: id, Status: status, Reason: reason}}}
}

func must(t *testing.T, w *world.World, cmd *nodev1.Command) *nodev1.Reply {
	t.Helper()
	reply, err := do(t, w, app, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// stored gives the credential that stands in the state.
func stored(t *testing.T, w *world.World, p eventv1.Platform) *eventv1.PushCredential {
	t.Helper()
	reply, err := ask(w, app, &nodev1.Query{Principal: &nodev1.Principal{Admin: true}, Body: &nodev1.Query_GetApplication{GetApplication: &nodev1.GetApplication{}}})
	if err != nil {
		t.Fatal(err)
	}
	return application.PushCredential(reply.Application, p)
}

func TestPushCredentials(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		if _, err := do(t, w, app, uploading(credential("1", android))); !code.Has(err, code.ApplicationNotFound) {
			t.Errorf("uploaded for no application: %v", err)
		}
		must(t, w, putting("a", "pem", true))
		must(t, w, uploading(credential("1", android)))
		must(t, w, uploading(credential("2", ios)))
		if c := stored(t, w, android); c.Status != eventv1.PushStatus_PUSH_STATUS_UNVERIFIED || c.CheckedMs != 0 || c.CreatedMs != w.Now || string(c.Secret) != "s" {
			t.Errorf("uploaded: %v", c)
		}
		w.Now += 5000
		must(t, w, noting(android, "1", invalid, strings.Repeat("ü", 300)))
		if c := stored(t, w, android); c.Status != invalid || len([]rune(c.Reason)) != 256 || c.CheckedMs != w.Now {
			t.Errorf("noted: %v", c)
		}
		// A change of the application leaves them alone, and no caller brings them in that way.
		sneaking := putting("b", "pem", false)
		sneaking.GetPutApplication().Application.PushCredentials = []*eventv1.PushCredential{credential("3", android)}
		must(t, w, sneaking)
		if c := stored(t, w, android); c.GetId() != "1" || stored(t, w, ios).GetId() != "2" {
			t.Errorf("after a change of the application: %v", c)
		}
		// What is said of a credential that has been replaced is said too late.
		must(t, w, uploading(credential("4", android)))
		must(t, w, noting(android, "1", valid, ""))
		if c := stored(t, w, android); c.Id != "4" || c.Status != eventv1.PushStatus_PUSH_STATUS_UNVERIFIED {
			t.Errorf("noted late: %v", c)
		}
		for range 2 {
			must(t, w, &nodev1.Command{Body: &nodev1.Command_DeletePushCredential{DeletePushCredential: &nodev1.DeletePushCredential{Platform: android}}})
			if stored(t, w, android) != nil || stored(t, w, ios) == nil {
				t.Error("not one credential was deleted")
			}
		}
		must(t, w, noting(android, "4", valid, ""))
		must(t, w, deleting())
		for key, row := range w.Rows() {
			if strings.Contains(string(row), "\x22\x01s") {
				t.Errorf("the secret outlives the application in %x", key)
			}
		}
	})
}

func TestNotingTheSameWritesNothing(t *testing.T) {
	w := world.New(3)
	must(t, w, putting("a", "pem", true))
	must(t, w, uploading(credential("1", android)))
	for _, want := range []bool{true, false} {
		results, err := w.Do(nodev1.Kind_KIND_APPLICATION, app, app, noting(android, "1", invalid, "gone"))
		if err != nil || results[0].Writes != want {
			t.Errorf("writes %v, %v", results[0].Writes, err)
		}
	}
}

func TestCredentialsThatAreRefused(t *testing.T) {
	w := world.New(3)
	must(t, w, putting("a", "pem", true))
	for what, spoil := range map[string]func(*eventv1.PushCredential){
		"no id": func(c *eventv1.PushCredential) { c.Id = "" }, "no platform": func(c *eventv1.PushCredential) { c.Platform = 0 },
		"no kind": func(c *eventv1.PushCredential) { c.Kind = 0 }, "no secret": func(c *eventv1.PushCredential) { c.Secret = nil },
		"a long secret":  func(c *eventv1.PushCredential) { c.Secret = make([]byte, application.PushSecretBytesMax+1) },
		"a long subject": func(c *eventv1.PushCredential) { c.Subject = strings.Repeat("x", application.PushTextCharactersMax+1) },
	} {
		c := credential("1", android)
		spoil(c)
		if _, err := do(t, w, app, uploading(c)); !code.Has(err, code.ValidationFail) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
