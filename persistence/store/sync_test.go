package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// failingSync names the operation that fails in the child process, and failingDir its directory.
const (
	failingSync = "PARLEY_TEST_FAILING_SYNC"
	failingDir  = "PARLEY_TEST_FAILING_DIR"
)

// syncFails fails one kind of operation below one directory, once it is armed.
type syncFails struct {
	kind  errorfs.OpKind
	below string
	armed atomic.Bool
}

var errDisk = errors.New("input/output error")

// MaybeError implements errorfs.Injector.
func (f *syncFails) MaybeError(op errorfs.Op) error {
	if f.armed.Load() && op.Kind == f.kind && strings.Contains(op.Path, f.below) {
		return errDisk
	}
	return nil
}

// String implements errorfs.Injector.
func (f *syncFails) String() string { return "sync fails" }

// failure is one way in which a sync can fail, and the write that runs into it.
type failure struct {
	kind  errorfs.OpKind
	below string
	write func(*store.Store) error
}

func failures() map[string]failure {
	commit := func(st *store.Store) error {
		return st.Log().Set(keys.LogEntry(1, 1, 1), []byte("vote"), pebble.Sync)
	}
	flush := func(st *store.Store) error {
		noise := make([]byte, 512<<10) // incompressible: a large table is synced on its way, too
		for i := range uint64(12) {
			_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(noise) // never fails
			if err := st.State().Set(event(1, i), noise, pebble.NoSync); err != nil {
				return err
			}
		}
		return st.FlushState(context.Background())
	}
	return map[string]failure{
		"log record":  {errorfs.OpFileSyncData, "/log/", commit},
		"state table": {errorfs.OpFileSync, "/state/", flush},
		"state part":  {errorfs.OpFileSyncTo, "/state/", flush},
		"identity record": {errorfs.OpFileSyncData, "/log/", func(st *store.Store) error {
			return st.SetIdentity(store.Identity{ClusterID: "c", NodeName: "n", StoreUUID: "s"})
		}},
	}
}

// writeUntilSyncFails runs in a child process. It prints ACKED only if the write is answered.
func writeUntilSyncFails(name string) {
	f := failures()[name]
	injector := &syncFails{kind: f.kind, below: f.below}
	o := options(errorfs.Wrap(vfs.Default, injector))
	o.StateMemTableBytes = 8 << 20
	st, err := store.Open(os.Getenv(failingDir), o)
	if err != nil {
		fmt.Println("OPEN", err)
		return
	}
	injector.armed.Store(true)
	fmt.Println("ACKED", f.write(st)) // with an error too: the outcome is in doubt, not refused
}

func TestFailedSyncEndsTheProcess(t *testing.T) {
	for name := range failures() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), failingSync+"="+name, failingDir+"="+t.TempDir())
			out, err := child.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() == 0 {
				t.Fatalf("the process went on: %v\n%.400s", err, out)
			}
			if strings.Contains(string(out), "ACKED") || strings.Contains(string(out), "OPEN") {
				t.Errorf("the write was answered:\n%.400s", out)
			}
			if !strings.Contains(string(out), "input/output error: the write is in doubt") {
				t.Errorf("it ended, but not because of the sync:\n%.800s", out)
			}
		})
	}
}

// edit changes one file of a stopped store.
func edit(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = out.Write(change(body))
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		t.Fatal(err)
	}
}
