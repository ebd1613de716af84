// Package version lets nodes of different builds work together. A build speaks a range of cluster
// versions; the cluster has one version, in the meta shard, which every member speaks. What a version
// added is used only once the cluster has reached it: Features is the one table that says since when.
//
//	all members speak n+1 ──driver──▶ the cluster's version is n+1 ──▶ nodes that do not speak it are refused
//
// A version never goes back: what was written since may be unreadable to the build before.
package version

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Number is a version of the cluster, from 1.
type Number uint32

// Oldest and Newest are what this build speaks. A build that adds to Features raises Newest; it raises
// Oldest, at the earliest, when nobody upgrades from there any more.
const (
	Oldest Number = 1
	Newest Number = 2
)

// Range is what a build speaks, both ends included.
type Range struct{ Oldest, Newest Number }

// Spoken is the range of this build.
func Spoken() Range { return Range{Oldest, Newest} }

// Told is a range as a node has told it. A node of before ranges were told speaks version 1.
func Told(oldest, newest uint32) Range {
	return Range{max(Number(oldest), 1), max(Number(newest), 1)}
}

// Valid says whether the range holds a version.
func (r Range) Valid() bool { return r.Oldest >= 1 && r.Oldest <= r.Newest }

// Refuses says why a build of this range cannot be part of a cluster of version n, "" when it can.
func (r Range) Refuses(n Number) string {
	switch {
	case r.Newest < n:
		return fmt.Sprintf("this build speaks cluster versions up to %d, but the cluster is at %d: start a later build", r.Newest, n)
	case r.Oldest > n:
		return fmt.Sprintf("this build speaks cluster versions from %d on, but the cluster is at %d: upgrade all nodes to a build in between first", r.Oldest, n)
	}
	return ""
}

// Meets says whether two builds have a version in common.
func (r Range) Meets(o Range) bool { return r.Oldest <= o.Newest && o.Oldest <= r.Newest }

// Gate is what one node may use now. Safe for concurrent use.
type Gate struct {
	since   Table
	free    Number        // what needs no more than this needs no look at the table
	current atomic.Uint32 // rises only
}

// NewGate makes a gate over a table that lets through what is in every version that spoken holds, until
// Raise says more.
func NewGate(spoken Range, since Table) *Gate {
	g := &Gate{since: since, free: since.newest()}
	g.current.Store(uint32(spoken.Oldest))
	return g
}

// Raise takes note of the cluster's version. A lower one than before is of the past.
func (g *Gate) Raise(to Number) {
	for {
		now := g.current.Load()
		if uint32(to) <= now || g.current.CompareAndSwap(now, uint32(to)) {
			return
		}
	}
}

// Current is the cluster's version, as far as this node knows.
func (g *Gate) Current() Number { return Number(g.current.Load()) }

// Allows says whether something of the table may be used now. What is not in it was never agreed on, and
// may not.
func (g *Gate) Allows(f Feature) bool {
	since, known := g.since[f]
	return known && since <= g.Current()
}

// Check says whether a request to another node may be sent now, which every member is to understand. The
// refusal is coded: it ends by itself when the last node has been upgraded.
func (g *Gate) Check(req *nodev1.GrainRequest) error {
	if g.free <= g.Current() {
		return nil // as it is but during an upgrade
	}
	for _, f := range featuresOf(req) {
		if !g.Allows(f) {
			return code.New(code.Unavailable, "not every node of the cluster has been upgraded to a build that knows %s", f)
		}
	}
	return nil
}

// featuresOf names what a request uses.
func featuresOf(req *nodev1.GrainRequest) []Feature {
	features := []Feature{}
	if req.Kind != nodev1.Kind_KIND_UNSPECIFIED {
		features = append(features, Feature("Kind."+req.Kind.String()))
	}
	if c := req.GetCommand(); c != nil {
		features = append(features, bodyOf("Command.", c.ProtoReflect()))
		if o := c.GetOrder(); o != nil {
			features = append(features, Feature("OrderKind."+o.Kind.String()))
		}
	}
	if q := req.GetQuery(); q != nil {
		features = append(features, bodyOf("Query.", q.ProtoReflect()))
	}
	return features
}

func bodyOf(prefix Feature, m protoreflect.Message) Feature {
	body := m.WhichOneof(m.Descriptor().Oneofs().ByName("body"))
	if body == nil {
		return prefix
	}
	return prefix + Feature(body.Name())
}
