//go:build !race || nodes

package node

import (
	"context"
	"testing"
	"time"

	"parley/edge/hub"
	"parley/proto/code"
)

// device is a connection that has a session.
type device struct{ replaced bool }

// Replaced implements hub.Replaced.
func (d *device) Replaced() { d.replaced = true }

// TestNodesShareWhatAUserMayHave: three nodes ask each other, over the network, how many sessions a user
// has. The first keeps back what the others may give without a question, and those give little more than
// that: no more than answers that do not come in time on a busy machine.
func TestNodesShareWhatAUserMayHave(t *testing.T) {
	var nodes []*Node
	for range 3 {
		o := options(t, t.TempDir())
		o.Settings.Shards = 2
		if len(nodes) > 0 {
			o.Settings.Join = []string{nodes[0].Addresses().Gossip}
		}
		n := open(t, o)
		defer closeNode(t, n)
		nodes = append(nodes, n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a hundred questions, of half a second each at most
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for _, n := range nodes {
		for n.runtime.Edges() != len(nodes)-1 {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				t.Fatal("the nodes do not find each other")
			}
		}
	}
	most := hub.DefaultOptions().SessionsPerUser
	for i, atMost := range []int{most - 1, most / 2, most / 2} {
		here, err := 0, error(nil)
		for ; err == nil && here <= most; here++ {
			_, _, err = nodes[i].hub.OpenSession(ctx, hub.Session{Application: "app", User: "USR-a"}, &device{})
		}
		if here--; !code.Has(err, code.TooManySessions) || here < 1 || here > atMost {
			t.Errorf("node %d gives %d sessions of %d, and then: %v", i, here, most, err)
		}
	}
}
