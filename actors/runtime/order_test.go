package runtime_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestOrdersOfAnOldDriverAreRefused: a node obeys the latest driver that it has heard of, be it by who
// leads the meta shard or by its orders, and no earlier one after it.
func TestOrdersOfAnOldDriverAreRefused(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	now := r.Epoch()
	for _, step := range []struct {
		what   string
		driver uint64
		obeyed bool
	}{
		{"before this node led", now - 1, false},
		{"the driver of now", now, true},
		{"and again", now, true},
		{"a successor", now + 4, true},
		{"the driver before, late", now, false},
		{"between the two", now + 3, false},
		{"nobody", 0, false},
		{"the successor", now + 4, true},
	} {
		o := &nodev1.Order{Shard: 1, Kind: nodev1.OrderKind_ORDER_KIND_DESTROY, Replica: 999, DriverEpoch: step.driver} // nobody has it
		if step.obeyed {
			until(t, step.what, func() bool { return r.Order(t.Context(), "n1", o) == nil }) // at once, on a machine with time
		} else if err := r.Order(t.Context(), "n1", o); !code.Has(err, code.Unavailable) {
			t.Errorf("%s: %v", step.what, err)
		}
	}
}
