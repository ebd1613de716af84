package api_test

import (
	"context"
	"errors"
	"testing"

	"parley/actors/api"
	"parley/actors/conversation/world"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestAbsenceIsToldOnlyWhenKnown: a node whose view of the meta shard is old must not say that an
// application or an API key does not exist: its clients would log out for good.
func TestAbsenceIsToldOnlyWhenKnown(t *testing.T) {
	var old error // why the view cannot be brought up to date
	o := api.DefaultOptions()
	o.Caller, o.Acks, o.Meta, o.Node, o.Shards = make(carrier), unwatched{}, world.Rows{}, "n1", shards
	o.Interest = func(context.Context, *nodev1.Interest) (*nodev1.InterestReply, error) { return nil, errors.New("none") }
	o.Fresh = func(context.Context) error { return old }
	a, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Application(t.Context(), app); !code.Has(err, code.ApplicationNotFound) {
		t.Errorf("an unknown application: %v", err)
	}
	if _, err := a.Credential(t.Context(), "key"); !code.Has(err, code.InvalidCredentials) {
		t.Errorf("an unknown key: %v", err)
	}
	old = errors.New("no leader")
	if _, err := a.Application(t.Context(), app); !code.Has(err, code.Unavailable) {
		t.Errorf("an application that may exist: %v", err)
	}
	if _, err := a.Credential(t.Context(), "key"); !code.Has(err, code.Unavailable) {
		t.Errorf("a key that may exist: %v", err)
	}
}
