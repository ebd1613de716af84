// Package solo opens one whole node in memory, for tests of what clients speak with: a small one, on
// a real store, with an application whose tokens it signs.
package solo

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/runtime"
)

// Patience is far more than anything of a node needs, also on a machine that does other things too.
const Patience = 2 * time.Minute

// Options are those of a small node n1 that keeps its data in fs and warns in the test's log. It gives
// nothing up that a busy machine only delays.
func Options(t testing.TB, fs vfs.FS) runtime.Options {
	o := runtime.DefaultOptions()
	o.DataDir, o.NodeName, o.Shards = "data", "n1", 4
	o.Logger = slog.New(slog.NewTextHandler(newOutput(t), &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.Metrics = prometheus.NewRegistry()
	o.System.CallTimeout, o.System.LeaderlessMax, o.System.StopTimeout = Patience, Patience, Patience
	o.API.Timeout, o.Host.StallAfter = Patience, Patience
	o.Store.FS = fs
	o.Store.LogMemTableBytes, o.Store.StateMemTableBytes, o.Store.CacheBytes = 1<<20, 1<<20, 4<<20
	return o
}

// Open opens a node and waits until it serves. Whoever opens it closes it.
func Open(t testing.TB, o runtime.Options) *runtime.Runtime {
	t.Helper()
	r, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := r.WaitReady(ctx); err != nil {
		Close(t, r)
		t.Fatal(err)
	}
	return r
}

// Close closes what Open gave.
func Close(t testing.TB, r *runtime.Runtime) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
