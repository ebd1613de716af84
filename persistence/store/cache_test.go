package store_test

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestMemtablesLeaveTheCache shows that there is a block cache also when all memtables have their full
// size: Pebble takes them from the same bytes.
func TestMemtablesLeaveTheCache(t *testing.T) {
	o := options(vfs.NewMem())
	o.CacheBytes, o.LogMemTableBytes, o.StateMemTableBytes = 8<<20, 2<<20, 2<<20
	st := open(t, "data", o)
	const rows, size = 12 << 10, 1 << 10 // twelve megabytes, each Pebble's memtables several times over
	row := make([]byte, size)
	for _, db := range []*pebble.DB{st.Log(), st.State()} {
		for i := range uint64(rows) {
			if err := db.Set(binary.BigEndian.AppendUint64([]byte("row"), i), row, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := st.FlushState(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(scanned(t, st.Reader(), "row", "rox", false, rows)); got != rows {
		t.Fatalf("%d rows of %d", got, rows)
	}
	if cached := st.State().Metrics().BlockCache.Size; cached < o.CacheBytes/2 {
		t.Fatalf("%d bytes are cached of what was just read, the cache has %d", cached, o.CacheBytes)
	}
}
