package user_test

import (
	"errors"
	"testing"

	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/actors/user"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// failing is a state that cannot be read at the moment.
type failing struct{ world.Rows }

var errUnread = errors.New("not to be read now")

func (failing) Get([]byte) ([]byte, bool, error) { return nil, false, errUnread }

// TestRowsThatWereNotReadAreNotAbsent: after a failure to read, the next command reads again; else
// it would write over devices that are there.
func TestRowsThatWereNotReadAreNotAbsent(t *testing.T) {
	w := world.New(3)
	must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
	must(t, w, ann, putting(phone("a", "1")))
	m := user.New(grain.Entity{Shard: keys.ShardOf(app, ann, 3), Kind: nodev1.Kind_KIND_USER, Application: app, ID: ann})
	if err := m.Load(w.Rows(), 0, nil, creating(&eventv1.User{})); err != nil {
		t.Fatal(err)
	}
	second := putting(phone("b", "2"))
	second.Principal = admin
	if err := m.Load(failing{w.Rows()}, 0, nil, second); !errors.Is(err, errUnread) {
		t.Fatalf("load: %v", err)
	}
	if err := m.Load(w.Rows(), 0, nil, second); err != nil {
		t.Fatal(err)
	}
	d, err := m.Decide(w.Now, second)
	if err != nil {
		t.Fatal(err)
	}
	var kept eventv1.Devices
	if err := kept.UnmarshalVT(d.Ops[0].Value); err != nil {
		t.Fatal(err)
	}
	if len(kept.Devices) != 2 {
		t.Errorf("kept %v", kept.Devices)
	}
}
