package application_test

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/application"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// meta is a store with an application at a revision.
func meta(t testing.TB, revision uint64, a *eventv1.Application) *store.Store {
	t.Helper()
	o := store.DefaultOptions()
	o.FS, o.LogMemTableBytes, o.StateMemTableBytes, o.CacheBytes = vfs.NewMem(), 1<<20, 1<<20, 4<<20
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	put(t, st, revision, a)
	return st
}

func put(t testing.TB, st *store.Store, revision uint64, a *eventv1.Application) {
	t.Helper()
	u, err := id.Parse(id.Application, app)
	if err != nil {
		t.Fatal(err)
	}
	row, err := a.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	head := keys.Head(keys.Meta, keys.UUID{}, u, keys.KindApplication)
	for key, value := range map[string][]byte{string(keys.Application(u)): row, string(head): binary.BigEndian.AppendUint64(nil, revision)} {
		if err := st.State().Set([]byte(key), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
}

// TestViewFollows: a view shows what is applied, also when a revision comes again with other content, as
// after an unsafe recovery; parses it once, and knows nothing that is not there.
func TestViewFollows(t *testing.T) {
	st := meta(t, 1, &eventv1.Application{Id: app, Name: "first"})
	v := application.NewView(st.Reader())
	first, err := v.Get(app)
	if err != nil || first.GetName() != "first" {
		t.Fatal(first, err)
	}
	if again, err := v.Get(app); err != nil || again != first {
		t.Fatalf("parsed again: %v, %v", again, err)
	}
	put(t, st, 2, &eventv1.Application{Id: app, Name: "second"})
	if second, err := v.Get(app); err != nil || second.GetName() != "second" {
		t.Fatal(second, err)
	}
	put(t, st, 2, &eventv1.Application{Id: app, Name: "another second"})
	if other, err := v.Get(app); err != nil || other.GetName() != "another second" {
		t.Error(other, err)
	}
	for _, unknown := range []string{"", "x", "0de7a7b5-0000-4000-8000-000000000009"} {
		if a, err := v.Get(unknown); err != nil || a != nil {
			t.Errorf("%q: %v, %v", unknown, a, err)
		}
	}
}

// BenchmarkView is what each command to a conversation costs for knowing its application's sinks.
func BenchmarkView(b *testing.B) {
	v := application.NewView(meta(b, 1, &eventv1.Application{Id: app, Name: "first"}).Reader())
	b.ReportAllocs()
	for range b.N {
		if a, err := v.Get(app); a == nil || err != nil {
			b.Fatal(err)
		}
	}
}
