package runtime_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"parley/actors/driver"
	"parley/actors/runtime"
)

// TestWhoIsConnectedElsewhere: each of two nodes is told what the edge of the other has, and not what
// its own has. A third, which has no edge, is not asked.
func TestWhoIsConnectedElsewhere(t *testing.T) {
	if racing {
		t.Skip("several nodes in one process set gRPC's global logger while connections read it")
	}
	node := func(name string, roles []string, join ...string) *runtime.Runtime {
		t.Helper()
		o := options(t, vfs.NewMem())
		o.NodeName, o.Roles, o.Join = name, roles, join
		o.Connected = func(application, user string) []string {
			return []string{name + " has one of " + user + " in " + application}
		}
		r, err := runtime.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		(&member{Runtime: r, name: name}).ready(t)
		return r
	}
	a := node("a", nil)
	defer closed(t, a)
	if a.Edges() != 0 || len(a.Connected(t.Context(), "app", "ann")) != 0 {
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
	for r, want := range map[*runtime.Runtime]string{a: "b has one of ann in app", b: "a has one of ann in app"} {
		one.until(t, want, func(*driver.Picture) bool { // an answer may be late on a busy machine
			return cmp.Equal([][]string{{want}}, r.Connected(t.Context(), "app", "ann"))
		})
	}
}
