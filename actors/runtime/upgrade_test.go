package runtime_test

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/cluster/version"
)

// build starts a node of a build that speaks the given versions of the cluster.
func build(t *testing.T, name string, fs vfs.FS, spoken version.Range, join ...string) *runtime.Runtime {
	t.Helper()
	if racing {
		t.Skip("several nodes in one process set gRPC's global logger while connections read it")
	}
	o := options(t, fs)
	o.NodeName, o.Join, o.Versions = name, join, spoken
	r, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestUpgrade replaces the builds of two nodes one by one: the cluster reaches the new version with the
// last of them, and then refuses the old build, as a new node and in place of the new one.
func TestUpgrade(t *testing.T) {
	old, next := version.Range{Oldest: 1, Newest: 1}, version.Range{Oldest: 1, Newest: 2}
	disks := map[string]vfs.FS{"a": vfs.NewMem(), "b": vfs.NewMem(), "c": vfs.NewMem()}
	ready := func(r *runtime.Runtime) *runtime.Runtime {
		t.Helper()
		return (&member{Runtime: r}).ready(t).Runtime
	}
	at := func(r *runtime.Runtime, n version.Number) {
		t.Helper()
		(&member{Runtime: r, name: "a"}).until(t, "the version of the cluster", func(p *driver.Picture) bool { return p.Version == n && len(p.Members()) == 2 })
	}
	refused := func(r *runtime.Runtime) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := r.WaitReady(ctx)
		if err == nil || r.WhyExpelled() == nil || !strings.Contains(r.WhyExpelled().Error(), "start a later build") {
			t.Errorf("an old build in a new cluster: %v", err)
		}
		closed(t, r)
	}
	a := ready(build(t, "a", disks["a"], old))
	b := ready(build(t, "b", disks["b"], next, a.Addresses().Gossip))
	at(b, 1)
	gossip := b.Addresses().Gossip
	closed(t, a)
	a = ready(build(t, "a", disks["a"], next, gossip))
	at(b, 2)
	defer func() { closed(t, a) }()

	refused(build(t, "c", disks["c"], old, gossip))
	closed(t, b)
	o := options(t, disks["b"])
	o.NodeName, o.Join, o.Versions = "b", []string{a.Addresses().Gossip}, old
	if r, err := runtime.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "start a later build") {
		t.Fatalf("an old build on a disk of a new cluster: %v, %v", r, err)
	}
	b = ready(build(t, "b", disks["b"], next, a.Addresses().Gossip))
	at(a, 2)
	closed(t, b)
}

// TestTheVersionIsKnownFromTheStart: a node judges its first stream, and itself, by the version that its
// store has seen, before it hears of anybody.
func TestTheVersionIsKnownFromTheStart(t *testing.T) {
	fs := vfs.NewMem()
	speaking := func(newest version.Number) runtime.Options {
		o := options(t, fs)
		o.Versions = version.Range{Oldest: 1, Newest: newest}
		return o
	}
	r := open(t, speaking(2))
	if at := runtime.Spoken(r); at != 2 {
		t.Errorf("the founder, when it is ready, is at version %d", at)
	}
	closed(t, r)
	r, err := runtime.Open(t.Context(), speaking(2))
	if err != nil {
		t.Fatal(err)
	}
	if at := runtime.Spoken(r); at != 2 {
		t.Errorf("it starts at version %d", at)
	}
	closed(t, r)
	if r, err := runtime.Open(t.Context(), speaking(1)); err == nil || !strings.Contains(err.Error(), "start a later build") {
		t.Fatalf("a build of before: %v, %v", r, err)
	}
}
