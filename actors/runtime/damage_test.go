package runtime_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/api"
	nodev1 "parley/proto/node/v1"

	eventv1 "parley/proto/event/v1"
)

// TestADamagedStoreIsNotReady: tables go bad under a running node. It serves no rows of them, and
// from the first that it meets on, readiness, a metric and the log say so.
func TestADamagedStoreIsNotReady(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, options(t, fs))
	con, _, err := r.API().CreateConversation(t.Context(), admin, "", &eventv1.Conversation{Name: "tea"})
	if err != nil {
		t.Fatal(err)
	}
	ann, err := r.API().CreateUser(t.Context(), admin, "", &eventv1.User{Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	join := &nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(`{"type":"app"}`)}
	if _, err := r.API().AddMember(t.Context(), admin, con.Id, "", api.UserRef{Name: "ann"}, join); err != nil {
		t.Fatal(err)
	}
	asAnn := &nodev1.Principal{ApplicationId: app, UserId: ann.Id, UserName: "ann"}
	for i := range 60 { // more blocks of a table than a start reads
		text := fmt.Appendf(nil, `{"text":"%064x%s"}`, i, strings.Repeat("x", 8<<10))
		if _, err := r.API().Post(t.Context(), asAnn, con.Id, fmt.Sprint(i), &nodev1.PostEvent{Type: "text", Body: text}); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, r) // flushes

	o := options(t, fs)
	registry, log := prometheus.NewRegistry(), &logged{}
	o.Metrics, o.Logger = registry, slog.New(slog.NewTextHandler(log, nil))
	r = open(t, o)
	defer func() {
		if err := r.Close(); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("closed with %v", err) // what is in memory could not be flushed
		}
	}()
	spoil(t, fs, "data/state")
	list := &nodev1.ListEvents{Page: &nodev1.Page{Size: 100}}
	if got, err := r.API().ListEvents(t.Context(), admin, con.Id, list); err == nil {
		t.Fatalf("%d events of a damaged table", len(got.Events))
	}
	if ready, why := r.Ready(); ready || !strings.Contains(why, "damaged") {
		t.Errorf("ready %v, %q", ready, why)
	}
	select { // it may be another of the node's parts that met the damage first, and that tells of it now
	case <-r.Damaged():
	case <-time.After(patience):
		t.Fatal("who runs the node is not told")
	}
	r.Unready()
	if err := r.WaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a start that waits ends with %v", err)
	}
	if n := total(t, registry, "parley_persistence_damaged_total"); n != 1 {
		t.Errorf("counted %v times", n)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "data/state") {
		t.Errorf("the log says %s", text)
	}
}

// spoil flips bits all over the tables of a directory, in place: they are open.
func spoil(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		at := []byte{0}
		stat, err := f.Stat()
		for off := int64(0); err == nil && off < stat.Size(); off += 512 {
			if _, err = f.ReadAt(at, off); err == nil {
				at[0] ^= 4
				_, err = f.WriteAt(at, off)
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		spoiled++
	}
	if spoiled == 0 {
		t.Fatalf("no table in %s: %v", dir, names)
	}
}

// logged keeps a log.
type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// total sums a counter over its labels.
func total(t *testing.T, g prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
