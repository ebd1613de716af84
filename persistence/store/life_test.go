package store_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// TestLivesRise: whatever the clock shows, and though every life ends with a crash.
func TestLivesRise(t *testing.T) {
	disk := vfs.NewCrashableMem()
	for _, life := range []struct{ clock, want uint64 }{{100, 100}, {500, 500}, {200, 501}, {501, 502}, {502, 503}, {900, 900}} {
		got, err := open(t, "n1", options(disk)).BeginLife(life.clock)
		if err != nil || got != life.want {
			t.Errorf("at %d begins life %d, %v; want %d", life.clock, got, err, life.want)
		}
		disk = disk.CrashClone(vfs.CrashCloneCfg{}) // only what was synced is left
	}
}

func TestALifeThatCannotBeRead(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	if err := st.Log().Set(keys.StoreLife(), []byte("long"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := st.BeginLife(1); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a row that is no number gives %v", err)
	}
}
