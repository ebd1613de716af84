package runtime_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"parley/actors/driver"
	"parley/actors/runtime"
	nodev1 "parley/proto/node/v1"
)

// TestWhoIsConnectedElsewhere: each of two nodes is told what the edge of the other has, and not what
// its own has. A third, which has no edge, is not asked.
func TestWhoIsConnectedElsewhere(t *testing.T) {
	if racing {
		t.Skip("several nodes in one process set gRPC's global logger while connections read it")
	}
	ofAnn := &nodev1.ListSessions{User: "ann", Connected: true, Moving: "b"}
	node := func(name string, roles []string, join ...string) *runtime.Runtime {
		t.Helper()
		o := options(t, vfs.NewMem())
		o.NodeName, o.Roles, o.Join = name, roles, join
		o.Connected = func(application string, q *nodev1.ListSessions) *nodev1.Reply {
			return &nodev1.Reply{Sessions: []string{name + " has one of " + q.GetUser() + " in " + application}, HandedOver: q.GetMoving() == name}
		}
		o.Sessions = func(context.Context, string, string) ([]string, error) { return []string{"moved", "of " + name}, nil }
		r, err := runtime.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		(&member{Runtime: r, name: name}).ready(t)
		return r
	}
	a := node("a", nil)
	defer closed(t, a)
	if a.Edges() != 0 || len(a.Connected(t.Context(), "app", ofAnn)) != 0 {
		t.Error("a node alone has others")
	}
	b := node("b", []string{driver.RoleEdge, driver.RoleShards}, a.Addresses().Gossip)
	defer closed(t, b)
	c := node("c", []string{driver.RoleShards}, a.Addresses().Gossip)
	defer closed(t, c)
	one := &member{Runtime: a, name: "a"}
	one.until(t, "three nodes", func(p *driver.Picture) bool {
		return len(p.Members()) == 3 && a.Edges() == 1 && b.Edges() == 1 && c.Edges() == 2
	})
	one.until(t, "each session once", func(*driver.Picture) bool {
		return cmp.Equal([]string{"moved", "of a", "of b", "of c"}, everywhere(t, a))
	})
	for r, want := range map[*runtime.Runtime]*nodev1.Reply{
		a: {Sessions: []string{"b has one of ann in app"}, HandedOver: true}, b: {Sessions: []string{"a has one of ann in app"}},
	} {
		one.until(t, want.String(), func(*driver.Picture) bool { // an answer may be late on a busy machine
			return cmp.Equal([]*nodev1.Reply{want}, r.Connected(t.Context(), "app", ofAnn), protocmp.Transform())
		})
	}
}

// everywhere are the sessions that a node lists for a user; none when it cannot.
func everywhere(t *testing.T, r *runtime.Runtime) []string {
	ids, err := r.Sessions(t.Context(), "app", "ann")
	if err != nil {
		t.Error(err)
	}
	return ids
}

// TestASilentEdgeIsToldOfSeldom: an edge that does not answer keeps nobody waiting for long, gives nothing,
// and is one line of the log, however many ask.
func TestASilentEdgeIsToldOfSeldom(t *testing.T) {
	if racing {
		t.Skip("several nodes in one process set gRPC's global logger while connections read it")
	}
	var log logged
	o := options(t, vfs.NewMem())
	o.NodeName, o.Logger = "a", slog.New(slog.NewTextHandler(&log, nil))
	a, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, a)
	one := &member{Runtime: a, name: "a"}
	one.ready(t)
	o = options(t, vfs.NewMem())
	o.NodeName, o.Join = "b", []string{a.Addresses().Gossip}
	release := make(chan struct{})
	o.Connected = func(string, *nodev1.ListSessions) *nodev1.Reply { <-release; return &nodev1.Reply{} }
	b, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, b)
	defer close(release)
	one.until(t, "two edges", func(*driver.Picture) bool { return a.Edges() == 1 })
	for range 3 {
		one.until(t, "an edge that says nothing", func(*driver.Picture) bool { // gossip may lose it for a while
			got := a.Connected(t.Context(), "app", &nodev1.ListSessions{User: "ann", Connected: true})
			return len(got) == 1 && got[0] == nil
		})
	}
	if text := log.String(); strings.Count(text, "who is connected to a node is not known") != 1 || !strings.Contains(text, "node=b") {
		t.Errorf("the log says %s", text)
	}
}
