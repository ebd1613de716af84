package application_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/actors/application"
	"parley/actors/conversation/world"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

var app = id.Derive(id.Application, "", "", "app")

func each(t *testing.T, test func(t *testing.T, w *world.World)) {
	for _, forgetful := range []bool{false, true} {
		t.Run(fmt.Sprint("forgetful=", forgetful), func(t *testing.T) {
			w := world.New(3)
			w.Forgetful = forgetful
			test(t, w)
		})
	}
}

func do(t *testing.T, w *world.World, entity string, cmd *nodev1.Command) (*nodev1.Reply, error) {
	t.Helper()
	results, err := w.Do(nodev1.Kind_KIND_APPLICATION, entity, entity, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Reply, results[0].Err
}

func ask(w *world.World, entity string, q *nodev1.Query) (*nodev1.Reply, error) {
	return w.Ask(nodev1.Kind_KIND_APPLICATION, entity, entity, q)
}

func putting(name, key string, create bool) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PutApplication{PutApplication: &nodev1.PutApplication{
		Create: create, Application: &eventv1.Application{Name: name, PublicKey: key}}}}
}

func deleting() *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_DeleteApplication{DeleteApplication: &nodev1.DeleteApplication{}}}
}

func TestApplication(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		if _, err := do(t, w, app, putting("a", "pem", false)); !code.Has(err, code.ApplicationNotFound) {
			t.Errorf("replaced before it was created: %v", err)
		}
		made, err := do(t, w, app, putting("a", "pem", true))
		if err != nil || made.Application.CreatedMs != w.Now || made.Application.Id != app {
			t.Fatal(made, err)
		}
		if again, err := do(t, w, app, putting("b", "other", true)); err != nil || !again.Duplicate || again.Application.Name != "a" {
			t.Errorf("created again: %v %v", again, err)
		}
		w.Now += 9
		if next, err := do(t, w, app, putting("b", "pem2", false)); err != nil || next.Application.UpdatedMs != next.Application.CreatedMs+9 {
			t.Errorf("replaced: %v %v", next, err)
		}
		list := &nodev1.Query{Body: &nodev1.Query_ListApplications{ListApplications: &nodev1.ListApplications{}}}
		if got, err := ask(w, app, list); err != nil || len(got.Applications) != 1 || got.Applications[0].PublicKey != "pem2" {
			t.Errorf("listed: %v %v", got, err)
		}
		if gone, err := do(t, w, app, deleting()); err != nil || gone.Application.PublicKey != "" {
			t.Errorf("the tombstone keeps a key: %v %v", gone, err)
		}
		for what, cmd := range map[string]*nodev1.Command{"delete": deleting(), "create": putting("a", "", true), "replace": putting("a", "", false)} {
			if _, err := do(t, w, app, cmd); !code.Has(err, code.ApplicationNotFound) {
				t.Errorf("%s after deletion: %v", what, err)
			}
		}
		if _, err := ask(w, app, &nodev1.Query{Body: &nodev1.Query_GetApplication{GetApplication: &nodev1.GetApplication{}}}); !code.Has(err, code.ApplicationNotFound) {
			t.Errorf("found after deletion: %v", err)
		}
		if got, _ := ask(w, app, list); len(got.Applications) != 0 {
			t.Errorf("listed after deletion: %v", got)
		}
	})
}

// TestAReplacementOfWhatChangedSince: who replaces an application names the one that it was made from. What others have
// changed since is not undone, also within a millisecond.
func TestAReplacementOfWhatChangedSince(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		made, err := do(t, w, app, putting("a", "pem", true))
		if err != nil {
			t.Fatal(err)
		}
		first, second := putting("b", "pem2", false), putting("c", "pem", false)
		for _, c := range []*nodev1.Command{first, second} {
			c.GetPutApplication().Application.UpdatedMs = made.Application.UpdatedMs
		}
		changed, err := do(t, w, app, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := do(t, w, app, second); !code.Has(err, code.IdempotencyConflict) {
			t.Errorf("replaced what it has not seen: %v", err)
		}
		second.GetPutApplication().Application.UpdatedMs = changed.Application.UpdatedMs
		if last, err := do(t, w, app, second); err != nil || last.Application.Name != "c" {
			t.Errorf("read again, and replaced: %v %v", last, err)
		}
	})
}

func TestRefused(t *testing.T) {
	for _, a := range []*eventv1.Application{
		nil, {}, {Name: strings.Repeat("x", 256)}, {Name: "a", PublicKey: strings.Repeat("x", 9000)}, {Name: "a", Capabilities: []byte("[]")},
	} {
		_, err := do(t, world.New(1), app, &nodev1.Command{Body: &nodev1.Command_PutApplication{
			PutApplication: &nodev1.PutApplication{Create: true, Application: a}}})
		if !code.Has(err, code.ValidationFail) {
			t.Errorf("%v: %v", a.GetName(), err)
		}
	}
	if _, err := do(t, world.New(1), "nonsense", deleting()); !code.Has(err, code.ApplicationNotFound) {
		t.Errorf("malformed id: %v", err)
	}
	if _, err := do(t, world.New(1), application.OperatorID, deleting()); !code.Has(err, code.InvalidEvent) {
		t.Errorf("the operator's entity is no application: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		put := func(key string, onlyIfNone bool) *nodev1.Reply {
			reply, err := do(t, w, application.OperatorID, &nodev1.Command{Body: &nodev1.Command_PutCredential{PutCredential: &nodev1.PutCredential{
				OnlyIfNone: onlyIfNone, Credential: &eventv1.Credential{Key: key, Hash: []byte("h")}}}})
			if err != nil {
				t.Fatal(err)
			}
			return reply
		}
		if r := put("k2", true); r.Exists || r.Credential.Key != "k2" {
			t.Errorf("the first: %v", r)
		}
		if r := put("k1", true); !r.Exists || r.Credential.Key != "k2" {
			t.Errorf("a second first: %v", r)
		}
		put("k1", false)
		get := func(g *nodev1.GetCredential) (*nodev1.Reply, error) {
			return ask(w, application.OperatorID, &nodev1.Query{Body: &nodev1.Query_GetCredential{GetCredential: g}})
		}
		if r, err := get(&nodev1.GetCredential{Any: true}); err != nil || r.Credential.Key != "k1" {
			t.Errorf("any: %v %v", r, err)
		}
		if r, err := get(&nodev1.GetCredential{Key: "k2"}); err != nil || r.Credential.Key != "k2" {
			t.Errorf("k2: %v %v", r, err)
		}
		if _, err := get(&nodev1.GetCredential{Key: "k3"}); !code.Has(err, code.InvalidCredentials) {
			t.Errorf("k3: %v", err)
		}
	})
}

func TestSettings(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		put := func(cluster string, shards, version uint32) string {
			reply, err := do(t, w, application.OperatorID, &nodev1.Command{Body: &nodev1.Command_PutSettings{PutSettings: &nodev1.PutSettings{
				Settings: &eventv1.ClusterSettings{ClusterId: cluster, Shards: shards, Version: version}}}})
			if err != nil {
				return "refused"
			}
			return fmt.Sprint(reply.Settings.ClusterId, " ", reply.Settings.Shards, " v", reply.Settings.Version)
		}
		for _, c := range []struct {
			cluster         string
			shards, version uint32
			want            string
		}{{"", 64, 1, "refused"}, {"c", 0, 1, "refused"}, {"c", 64, 1, "c 64 v1"}, {"d", 8, 1, "c 64 v1"}, {"d", 8, 2, "c 64 v2"}, {"c", 64, 1, "c 64 v2"}} {
			if got := put(c.cluster, c.shards, c.version); got != c.want {
				t.Errorf("put %v: %s, want %s", c, got, c.want)
			}
		}
	})
}
