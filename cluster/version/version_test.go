package version

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestEverythingNodesSayHasAVersion: a command, query, fan-out, kind of entity or of order that is not in
// the table would be sent to nodes that do not know it.
func TestEverythingNodesSayHasAVersion(t *testing.T) {
	table := Features()
	named := map[Feature]bool{}
	want := func(f Feature) {
		named[f] = true
		if n := table[f]; n < Oldest || n > Newest {
			t.Errorf("%s has the version %d: add it to cluster/version/features.go (see Features)", f, n)
		}
	}
	for _, m := range []protoreflect.ProtoMessage{&nodev1.Command{}, &nodev1.Query{}, &nodev1.Fanout{}} {
		d := m.ProtoReflect().Descriptor()
		fields := d.Oneofs().ByName("body").Fields()
		for i := range fields.Len() {
			want(Feature(string(d.Name()) + "." + string(fields.Get(i).Name())))
		}
	}
	for _, e := range []protoreflect.EnumDescriptor{nodev1.Kind(0).Descriptor(), nodev1.OrderKind(0).Descriptor()} {
		for i := 1; i < e.Values().Len(); i++ { // 0 says nothing
			want(Feature(string(e.Name()) + "." + string(e.Values().Get(i).Name())))
		}
	}
	for f := range table {
		if !named[f] && f[0] >= 'A' && f[0] <= 'Z' {
			t.Errorf("%s is in the table, and nobody says it", f)
		}
	}
	if Oldest > Newest || Oldest < 1 {
		t.Errorf("this build speaks %d to %d", Oldest, Newest)
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		spoken Range
		at     Number
		ok     bool
	}{
		{Range{1, 1}, 1, true}, {Range{1, 2}, 1, true}, {Range{1, 2}, 2, true}, {Range{1, 2}, 3, false},
		{Range{2, 3}, 1, false}, {Told(0, 0), 1, true}, {Told(0, 0), 2, false}, {Told(2, 4), 3, true},
	} {
		if why := c.spoken.Refuses(c.at); (why == "") != c.ok {
			t.Errorf("%+v in a cluster at %d: %q", c.spoken, c.at, why)
		}
	}
	if a, b, c := (Range{1, 2}), (Range{2, 3}), (Range{3, 3}); !a.Meets(b) || !b.Meets(a) || a.Meets(c) || c.Meets(a) {
		t.Error("ranges meet that do not, or do not that do")
	}
	if (Range{}).Valid() || (Range{2, 1}).Valid() || !Spoken().Valid() {
		t.Error("a range is valid that is not, or is not that is")
	}
}

// TestTheGate opens for what the second version added when the cluster has reached it, and stays open.
func TestTheGate(t *testing.T) {
	table := Table{"Kind.KIND_USER": 1, "Command.probe": 1, "Command.order": 1, "OrderKind.ORDER_KIND_MAKE": 1,
		"OrderKind.ORDER_KIND_REBALANCE": 2, "Query.get_user": 2}
	order := func(k nodev1.OrderKind) *nodev1.GrainRequest {
		return &nodev1.GrainRequest{Command: &nodev1.Command{Body: &nodev1.Command_Order{Order: &nodev1.Order{Kind: k}}}}
	}
	g := NewGate(Range{1, 2}, table)
	for _, c := range []struct {
		what   string
		req    *nodev1.GrainRequest
		opens  bool // at once
		opened bool // in version 2
	}{
		{"an old command", &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_USER, Command: &nodev1.Command{Body: &nodev1.Command_Probe{}}}, true, true},
		{"an old order", order(nodev1.OrderKind_ORDER_KIND_MAKE), true, true},
		{"a new order", order(nodev1.OrderKind_ORDER_KIND_REBALANCE), false, true},
		{"a new query", &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_USER, Query: &nodev1.Query{Body: &nodev1.Query_GetUser{}}}, false, true},
		{"a command nobody agreed on", &nodev1.GrainRequest{Command: &nodev1.Command{Body: &nodev1.Command_DeleteUser{}}}, false, true},
	} {
		if err := g.Check(c.req); (err == nil) != c.opens || err != nil && !code.Has(err, code.Unavailable) {
			t.Errorf("%s in version 1: %v", c.what, err)
		}
		later := NewGate(Range{1, 2}, table)
		later.Raise(2)
		later.Raise(1)
		if err := later.Check(c.req); (err == nil) != c.opened || later.Current() != 2 {
			t.Errorf("%s in version 2: %v", c.what, err)
		}
	}
}
