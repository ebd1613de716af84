package snapshot_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"parley/persistence/keys"
	"parley/persistence/snapshot"
	"parley/persistence/store"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shard = keys.Shard(5)

func open(t testing.TB, fs vfs.FS) *store.Store {
	t.Helper()
	o := store.DefaultOptions()
	o.FS = fs
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	o.CacheBytes, o.LogMemTableBytes, o.StateMemTableBytes = 1<<20, 256<<10, 256<<10
	st, err := store.Open("node", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
	return st
}

func put(t testing.TB, st *store.Store, rows ...string) {
	t.Helper()
	for i := 0; i < len(rows); i += 2 {
		if err := st.State().Set([]byte(rows[i]), []byte(rows[i+1]), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
}

// event is a key of a shard's state.
func event(s keys.Shard, sequence uint64) string {
	return string(keys.Event(s, keys.UUID{1}, keys.UUID{2}, sequence))
}

func replica(s keys.Shard) string { return string(keys.Replica(s)) }

func rows(t testing.TB, st *store.Store, s keys.Shard) []string {
	t.Helper()
	var got []string
	lo, hi := keys.Span(s)
	if err := st.Reader().Scan(lo, hi, false, func(k, v []byte) (bool, error) {
		got = append(got, fmt.Sprintf("%x=%s", k, v))
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func write(t testing.TB, st *store.Store, s keys.Shard) ([]byte, snapshot.Stats, error) {
	t.Helper()
	r, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	stats, err := snapshot.Write(t.Context(), &b, r, s)
	return b.Bytes(), stats, err
}

func receive(t testing.TB, st *store.Store, stream io.Reader) (*snapshot.File, error) {
	t.Helper()
	return snapshot.Receive(t.Context(), stream, st.FS(), st.IncomingDir(), shard)
}

// small is a stream of three rows.
func small(t testing.TB) (*store.Store, []byte) {
	t.Helper()
	st := open(t, vfs.NewMem())
	put(t, st, replica(shard), "applied 9", event(shard, 1), "hello", event(shard, 2), "")
	stream, _, err := write(t, st, shard)
	if err != nil {
		t.Fatal(err)
	}
	return st, stream
}

func TestSnapshotReplacesTheSpanAndNothingElse(t *testing.T) {
	from, to := open(t, vfs.NewMem()), open(t, vfs.NewMem())
	put(t, from, replica(shard), "applied 500", replica(shard-1), "not sent", replica(shard+1), "not sent")
	for i := range uint64(500) {
		put(t, from, event(shard, i), strings.Repeat("x", int(i)*7))
	}
	// The receiver has an older past of the shard, partly flushed, and neighbours.
	put(t, to, replica(shard), "applied 3", event(shard, 7), "old", event(shard, 9999), "only here")
	put(t, to, replica(shard-1), "below", event(shard-1, 1<<63), "below", replica(shard+1), "above")
	if err := to.FlushState(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, to, event(shard, 10000), "only here, not flushed", event(shard+1, 1), "above, not flushed")
	below, above := rows(t, to, shard-1), rows(t, to, shard+1)

	stream, sent, err := write(t, from, shard)
	if err != nil {
		t.Fatal(err)
	}
	f, err := receive(t, to, iotest.HalfReader(bytes.NewReader(stream)))
	if err != nil {
		t.Fatal(err)
	}
	if string(f.Replica) != "applied 500" || f.Stats != sent || sent.Rows != 501 {
		t.Errorf("received %q %+v, sent %+v", f.Replica, f.Stats, sent)
	}
	if err := errors.Join(snapshot.Install(t.Context(), to, f), f.Remove()); err != nil {
		t.Fatal(err)
	}
	if got, want := rows(t, to, shard), rows(t, from, shard); !slices.Equal(got, want) {
		t.Errorf("%d rows installed, %d sent", len(got), len(want))
	}
	if !slices.Equal(rows(t, to, shard-1), below) || !slices.Equal(rows(t, to, shard+1), above) {
		t.Error("the neighbours changed")
	}
	if err := snapshot.Install(t.Context(), to, f); err == nil {
		t.Error("a file was installed twice")
	}
	if left, err := to.FS().List(to.IncomingDir()); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestLargeShardBecomesSeveralTables(t *testing.T) {
	from, to := open(t, vfs.NewMem()), open(t, vfs.NewMem())
	put(t, from, replica(shard), "applied")
	for i := range uint64(40) {
		put(t, from, event(shard, i), string(bytes.Repeat([]byte{byte(i)}, 1<<20)))
	}
	stream, sent, err := write(t, from, shard)
	if err != nil {
		t.Fatal(err)
	}
	f, err := receive(t, to, bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := to.FS().List(to.FS().PathJoin(to.IncomingDir(), "shard-5"))
	if err != nil || len(tables) != 2 {
		t.Errorf("tables of 40 MiB: %v %v", tables, err)
	}
	if err := errors.Join(snapshot.Install(t.Context(), to, f), f.Remove()); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, to, shard); uint64(len(got)) != sent.Rows || !slices.Equal(got, rows(t, from, shard)) {
		t.Errorf("%d rows installed, %d sent", len(got), sent.Rows)
	}
}

func TestDropRemovesTheShard(t *testing.T) {
	fs := vfs.NewCrashableMem()
	st := open(t, fs)
	put(t, st, replica(shard), "a", event(shard, 1), "b", replica(shard+1), "stays")
	if err := st.FlushState(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, st, event(shard, 2), "not flushed")
	if err := snapshot.Drop(t.Context(), st, shard); err != nil {
		t.Fatal(err)
	}
	crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	for name, st := range map[string]*store.Store{"now": st, "after a crash": crashed} {
		if got := rows(t, st, shard); len(got) > 0 {
			t.Errorf("%s: left %q", name, got)
		}
		if got := rows(t, st, shard+1); len(got) != 1 {
			t.Errorf("%s: neighbour %q", name, got)
		}
	}
}

func TestShardWithoutReplicaRowIsNotSent(t *testing.T) {
	st := open(t, vfs.NewMem())
	if _, _, err := write(t, st, shard); !errors.Is(err, snapshot.ErrNoReplica) {
		t.Errorf("an empty span: %v", err)
	}
	put(t, st, event(shard, 1), "stray")
	if _, _, err := write(t, st, shard); !errors.Is(err, snapshot.ErrNoReplica) {
		t.Errorf("rows without a replica row: %v", err)
	}
}

func TestRowOverTheLimitIsNotSent(t *testing.T) {
	st := open(t, vfs.NewMem())
	put(t, st, replica(shard), "applied", event(shard, 1), strings.Repeat("x", 8<<20+1))
	if _, _, err := write(t, st, shard); err == nil || !strings.Contains(err.Error(), "the most is 8388608") {
		t.Errorf("a row over the limit: %v", err)
	}
}

func TestEveryTruncatedOrFlippedStreamIsRefused(t *testing.T) {
	_, stream := small(t)
	to := open(t, vfs.NewMem())
	refused := func(what string, stream []byte) {
		t.Helper()
		f, err := receive(t, to, bytes.NewReader(stream))
		if err == nil {
			t.Fatalf("%s: taken, with %d rows", what, f.Stats.Rows)
		}
		if !errors.Is(err, snapshot.ErrMalformed) {
			t.Fatalf("%s: %v", what, err)
		}
		if left, err := to.FS().List(to.IncomingDir()); len(left) > 0 || err != nil {
			t.Fatalf("%s: left behind %v %v", what, left, err)
		}
	}
	for n := range stream {
		refused(fmt.Sprintf("the first %d of %d bytes", n, len(stream)), stream[:n])
		for bit := range 8 {
			flipped := bytes.Clone(stream)
			flipped[n] ^= 1 << bit
			refused(fmt.Sprintf("bit %d of byte %d", bit, n), flipped)
		}
	}
	if got := rows(t, to, shard); len(got) > 0 {
		t.Errorf("refused streams left %q in the state", got)
	}
}

func TestReceiveStopsAtTheTrailer(t *testing.T) {
	_, stream := small(t)
	r := bytes.NewReader(append(bytes.Clone(stream), "next"...))
	f, err := receive(t, open(t, vfs.NewMem()), r)
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "next" {
		t.Errorf("left in the connection: %q", rest)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsOfTheConnectionStayThemselves(t *testing.T) {
	_, stream := small(t)
	to := open(t, vfs.NewMem())
	reset := errors.New("connection reset")
	_, err := receive(t, to, io.MultiReader(bytes.NewReader(stream[:20]), iotest.ErrReader(reset)))
	if !errors.Is(err, reset) || errors.Is(err, snapshot.ErrMalformed) {
		t.Errorf("receive: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reset)
	if _, err := snapshot.Receive(ctx, bytes.NewReader(stream), to.FS(), to.IncomingDir(), shard); !errors.Is(err, reset) {
		t.Errorf("receive with an ended context: %v", err)
	}
	from, _ := small(t)
	r, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := snapshot.Write(ctx, io.Discard, r, shard); !errors.Is(err, reset) {
		t.Errorf("write with an ended context: %v", err)
	}
	for n := range 5 {
		if _, err := snapshot.Write(t.Context(), &failing{after: n, err: reset}, r, shard); !errors.Is(err, reset) {
			t.Errorf("write that fails at call %d: %v", n, err)
		}
	}
}

type failing struct {
	after int
	err   error
}

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return len(b), nil
}

func TestSecondReceiveOfAShardIsRefused(t *testing.T) {
	_, stream := small(t)
	to := open(t, vfs.NewMem())
	f, err := receive(t, to, bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receive(t, to, bytes.NewReader(stream)); err == nil || !strings.Contains(err.Error(), "another one") {
		t.Errorf("a second one: %v", err)
	}
	if err := snapshot.Install(t.Context(), to, f); err != nil {
		t.Errorf("the first one is spoilt: %v", err)
	}
}

func TestStreamIsGolden(t *testing.T) {
	_, stream := small(t)
	got := hex.Dump(stream)
	const name = "testdata/stream_v1.txt"
	if *rewrite {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the stream changed; nodes of two versions no longer understand each other:\n%s", got)
	}
}

func TestPaceWritesEverythingAtMostAtItsRate(t *testing.T) {
	var b bytes.Buffer
	limit := rate.NewLimiter(rate.Inf, 3)
	if n, err := snapshot.Pace(t.Context(), &b, limit).Write([]byte("0123456789")); n != 10 || err != nil || b.String() != "0123456789" {
		t.Errorf("wrote %d %v %q", n, err, &b)
	}
	b.Reset()
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	slow := rate.NewLimiter(1, 4)
	n, err := snapshot.Pace(stopped, &b, slow).Write([]byte("0123456789"))
	if n != 0 || err == nil {
		t.Errorf("wrote %d %v", n, err)
	}
}
