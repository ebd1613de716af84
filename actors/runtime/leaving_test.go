package runtime

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/snapshot"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
)

// TestNothingIsMissingWhileAReplicaGoes: what a node shows of the meta shard does not vanish with its replica
// of it, at whatever moment somebody looked whether one is here; and while it is being dropped, which may take
// long, the copy is shown, which follows the leader.
func TestNothingIsMissingWhileAReplicaGoes(t *testing.T) {
	o := store.DefaultOptions()
	o.FS, o.CacheBytes, o.LogMemTableBytes, o.StateMemTableBytes = vfs.NewMem(), 1<<20, 1<<20, 1<<20
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	row := keys.Application(keys.UUID{7})
	come := func() {
		for key, value := range map[string][]byte{
			string(keys.Replica(keys.Meta)): raftlog.Applied{Position: raftlog.Position{Index: 20, Term: 5}}.Encode(), string(row): []byte("own"),
		} {
			if err := st.State().Set([]byte(key), value, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
	}
	come()
	p, err := openPublic(st)
	if err != nil {
		t.Fatal(err)
	}
	p.show(&eventv1.PublicCopy{Version: 20, Rows: []*eventv1.PublicRow{{Key: row, Value: []byte("copy")}}})
	for _, step := range []struct {
		when, want string
		do         func() error
	}{
		{"at the beginning", "own", p.look},
		{"when it has gone and nobody has looked", "copy", func() error { return snapshot.Drop(t.Context(), st, keys.Meta) }},
		{"with the next one", "own", func() error { come(); return p.look() }},
		{"when that is to go", "copy", func() error { p.leave(); return p.look() }},
		{"when it has gone", "copy", func() error { return snapshot.Drop(t.Context(), st, keys.Meta) }},
		{"after a look", "copy", p.look},
		{"with the third", "own", func() error { come(); return p.look() }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		value, ok, err := p.Get(row)
		scanned := ""
		if err := p.Scan(row, keys.End(row), false, func(_, v []byte) (bool, error) { scanned = string(v); return true, nil }); err != nil {
			t.Error(err)
		}
		if !ok || err != nil || string(value) != step.want || scanned != step.want {
			t.Errorf("%s: %q, %v, %v; scanned %q; want %q", step.when, value, ok, err, scanned, step.want)
		}
	}
}
