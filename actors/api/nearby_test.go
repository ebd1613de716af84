package api_test

import (
	"maps"
	"testing"

	"parley/actors/api"
	"parley/actors/conversation/world"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// namesAsked gives an API for which a reader is nearby, and counts the names' leaders that it asks.
func namesAsked(t *testing.T, w *world.World, nearby store.Reader) (a *api.Service, asked *int) {
	t.Helper()
	asked = new(int)
	d := &direct{w: w, before: func(req *nodev1.GrainRequest) error {
		if req.Kind == nodev1.Kind_KIND_NAME {
			*asked++
		}
		return nil
	}}
	o := options(d, w.Rows())
	o.Nearby = nearby
	a, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a, asked
}

// TestANameIsFoundNearby: the replica of a name that is on this node says whom to ask; only when it is
// behind, or not here, is the name's leader asked. What is found is the same.
func TestANameIsFoundNearby(t *testing.T) {
	w, _, a := newWorld(t)
	create := func(name string) string {
		u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return u.Id
	}
	first := create("ann")
	old := maps.Clone(w.Rows())
	other := "anna"
	if _, err := a.UpdateUser(t.Context(), admin, first, &nodev1.UpdateUser{Name: &other}); err != nil {
		t.Fatal(err)
	}
	second := create("ann")
	for name, tc := range map[string]struct {
		nearby store.Reader
		ask    string
		want   string // empty: not found
		asked  int
	}{
		"up to date":           {w.Rows(), "ann", second, 0},
		"behind":               {old, "ann", second, 1},
		"behind, and new name": {old, "anna", first, 1},
		"elsewhere":            {world.Rows{}, "ann", second, 1},
		"nothing nearby":       {nil, "ann", second, 1},
		"nobody":               {w.Rows(), "bob", "", 1},
	} {
		a, asked := namesAsked(t, w, tc.nearby)
		u, err := a.GetUser(t.Context(), admin, api.UserRef{Name: tc.ask})
		if u.GetId() != tc.want || (err == nil) != (tc.want != "") || *asked != tc.asked {
			t.Errorf("%s: found %s, %v, want %q; asked %d leaders of names, want %d", name, u.GetId(), err, tc.want, *asked, tc.asked)
		}
	}
}
