package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// stopped makes a store with flushed state and a used log, and leaves its disk as a power cut
// does.
func stopped(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	st := open(t, "n1", options(fs))
	if err := st.SetIdentity(store.Identity{ClusterID: "c", NodeName: "n1", StoreUUID: "s"}); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 9; n++ {
		if err := applyEntry(st, 1, n); err != nil {
			t.Fatal(err)
		}
		if err := st.Log().Set(logEntry(n), make([]byte, 8<<10), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, st)
	return fs.CrashClone(vfs.CrashCloneCfg{})
}

func copyOf(fs *vfs.MemFS) *vfs.MemFS { return fs.CrashClone(vfs.CrashCloneCfg{}) }

func files(t *testing.T, fs vfs.FS, dir string, match func(string) bool) (names []string) {
	t.Helper()
	all, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if match(n) {
			names = append(names, fs.PathJoin(dir, n))
		}
	}
	if slices.Sort(names); len(names) == 0 {
		t.Fatalf("nothing to damage in %s: %v", dir, all)
	}
	return names
}

func ending(s string) func(string) bool {
	return func(n string) bool { return strings.HasSuffix(n, s) }
}

func beginning(s string) func(string) bool {
	return func(n string) bool { return strings.HasPrefix(n, s) }
}

// isDamage checks the error's kind and its advice.
func isDamage(t *testing.T, what, dir string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "quarantine the directory") {
		t.Errorf("%s: %v", what, err)
	}
}

func TestMissingFilesAreDamage(t *testing.T) {
	disk := stopped(t)
	for what, c := range map[string]struct {
		dir   string
		match func(string) bool
	}{
		"a table of state":                {"n1/state", ending(".sst")},
		"state's manifest":                {"n1/state", beginning("MANIFEST")},
		"log's manifest":                  {"n1/log", beginning("MANIFEST")},
		"the pointer to a log's manifest": {"n1/log", beginning("marker.manifest")},
		"the pointer to state's manifest": {"n1/state", beginning("marker.manifest")},
	} {
		fs := copyOf(disk)
		for _, name := range files(t, fs, c.dir, c.match) {
			if err := fs.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		_, err := store.Open("n1", options(fs))
		isDamage(t, what, c.dir, err)
	}
	for _, lost := range []string{"n1/state", "n1/log"} {
		fs := copyOf(disk)
		if err := fs.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first refusal must not make up what is missing
			_, err := store.Open("n1", options(fs))
			isDamage(t, "a lost directory", lost, err)
		}
	}
}

// TestFlippedTableIsNeverReadAsOtherRows flips a bit at many places of the tables. Each flip is an
// error that says so, or hits bytes that nobody reads: the rows are never others.
func TestFlippedTableIsNeverReadAsOtherRows(t *testing.T) {
	disk := stopped(t)
	noticed, harmless := 0, 0
	for _, name := range files(t, disk, "n1/state", ending(".sst")) {
		stat, err := disk.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < stat.Size(); at += 1 + stat.Size()/100 {
			fs := copyOf(disk)
			edit(t, fs, name, func(b []byte) []byte { b[at] ^= 4; return b })
			rows, err := readAll(fs)
			switch {
			case err != nil:
				isDamage(t, name, "n1/state", err)
				noticed++
			case !maps.Equal(rows, stateAfter(1, 9)):
				t.Errorf("byte %d of %s: other rows, and no error", at, name)
			default:
				harmless++
			}
		}
	}
	t.Logf("%d flips were noticed, %d hit bytes that are not read", noticed, harmless)
	if noticed < 50 {
		t.Errorf("only %d flips were noticed", noticed)
	}
}

// readAll opens the store, and reads shard 1 in every way there is.
func readAll(fs vfs.FS) (rows map[string]string, err error) {
	st, err := store.Open("n1", options(fs))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil && st.Damage() != nil {
			err = st.Damage()
		}
		err = errors.Join(err, st.Close())
	}()
	rows = map[string]string{}
	lo, hi := keys.Span(1)
	if err := st.Reader().Scan(lo, hi, false, func(k, v []byte) (bool, error) {
		rows[string(k)] = string(v)
		return true, nil
	}); err != nil {
		return nil, err
	}
	for k, v := range stateAfter(1, 9) {
		got, ok, err := st.Reader().Get([]byte(k))
		if err != nil {
			return nil, err
		}
		if !ok || string(got) != v {
			rows[k] = "get: " + string(got)
		}
	}
	_, _, err = st.DurableApplied(1)
	return rows, err
}

// TestADamagedManifestIsDamage changes bytes all over the first record of either manifest, and cuts
// the manifest there. What stands behind it Pebble takes for an edit that a power cut has torn.
func TestADamagedManifestIsDamage(t *testing.T) {
	disk := stopped(t)
	for _, dir := range []string{"n1/log", "n1/state"} {
		for _, name := range files(t, disk, dir, beginning("MANIFEST")) {
			head := 0
			edit(t, copyOf(disk), name, func(b []byte) []byte {
				head = 7 + int(binary.LittleEndian.Uint16(b[4:])) // checksum, length, type; then the record
				return b
			})
			for at := 0; at < head; at += 3 {
				for what, change := range map[string]func(b []byte) []byte{
					"flipped": func(b []byte) []byte { b[at] ^= 4; return b },
					"cut":     func(b []byte) []byte { return b[:at] },
				} {
					fs := copyOf(disk)
					edit(t, fs, name, change)
					_, err := readAll(fs)
					isDamage(t, fmt.Sprintf("%s %s at byte %d of %d", name, what, at, head), dir, err)
				}
			}
		}
	}
}

func TestDamageIsRemembered(t *testing.T) {
	fs := stopped(t)
	for _, name := range files(t, fs, "n1/state", ending(".sst")) {
		edit(t, fs, name, func(b []byte) []byte { b[3] ^= 1; return b })
	}
	st := open(t, "n1", options(fs))
	if _, _, err := st.Reader().Get(keys.Replica(1)); err == nil {
		t.Fatal("a damaged table was read")
	} else {
		isDamage(t, "read", "n1/state", err)
	}
	isDamage(t, "afterwards", "n1/state", st.Damage())
	isDamage(t, "flush", "n1/state", st.FlushState(t.Context()))
}

func TestCutTableIsDamage(t *testing.T) {
	fs := stopped(t)
	for _, name := range files(t, fs, "n1/state", ending(".sst")) {
		edit(t, fs, name, func(b []byte) []byte { return b[:len(b)-1] })
	}
	_, err := store.Open("n1", options(fs))
	isDamage(t, "a table cut by one byte", "n1/state", err)
}
