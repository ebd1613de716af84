package runtime_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestAClockThatWasAhead: in a node's first life its clock is an hour ahead. It is set right, and the node
// starts again, as a member.
func TestAClockThatWasAhead(t *testing.T) {
	o := options(t, vfs.NewMem())
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
	closed(t, open(t, o))
	o = options(t, o.Store.FS)
	closed(t, open(t, o))
}
