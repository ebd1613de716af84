package shard

import (
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// TestWhoIsFarBehindCatchesUp: a node comes back, and its leader has more for it at once, of all shards together, than the
// transport lets wait for a node. What does not fit is lost; what does brings the node on, until it has everything.
func TestWhoIsFarBehindCatchesUp(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	const shards, entry, entries = 16, 3 << 10, 8
	o := testOptions("")
	o.MessageBytes = 4 << 10
	buffer := 8 * o.MessageBytes // as the transport's is to MessageBytes by default, nearly
	c := &scripted{t: t, network: transport.NewMemory(), nodes: map[string]*scriptedNode{}, disks: map[string]*vfs.MemFS{}}
	for _, name := range []string{"n1", "n2"} {
		n := &scriptedNode{name: name, cluster: c, store: testStore(t, vfs.NewMem())}
		if o.Node = name; name == "n1" {
			if err := Bootstrap(t.Context(), n.store, name, shards); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if n.Stepper, err = OpenStepper(n.store, c.network.Endpoint(name), n, o); err != nil {
			t.Fatal(err)
		}
		defer n.stop()
		c.nodes[name] = n
	}
	c.settle()
	leader, away := c.nodes["n1"], c.nodes["n2"]
	for s := keys.Shard(1); s <= shards; s++ {
		replica := ReplicaID(100 + s)
		if err := away.AddReplica(s, replica); err != nil {
			t.Fatal(err)
		}
		leader.ChangeConf(s, 0, []Change{{Kind: AddLearner, Replica: replica, Node: "n2"}}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	c.settle()
	c.network.Isolate("n2")
	for s := keys.Shard(1); s <= shards; s++ {
		for base := range uint64(entries) {
			w := post(s, 7, base)
			w.Ops = append(w.Ops, store.Put(keys.Conversation(s, keys.UUID{1}, keys.UUID{7}), make([]byte, entry)))
			leader.Propose(Proposal{Shard: s, Epoch: leader.Lead(s).Epoch, Write: w, Done: func(err error) {
				if err != nil {
					t.Error(err)
				}
			}})
			leader.Settle(t.Context())
		}
	}
	c.network.DeliverAll() // lost
	c.network.Heal()
	behind := func() (n int) {
		for s := keys.Shard(1); s <= shards; s++ {
			if revisionOf(t, away.Reader(), post(s, 7, 0)) != entries {
				n++
			}
		}
		return n
	}
	for round := 0; behind() > 0; round++ {
		if round == 100 {
			t.Fatalf("%d shards do not catch up", behind())
		}
		leader.Tick()
		away.Tick()
		leader.Settle(t.Context())
		away.Settle(t.Context())
		for waits := 0; len(c.network.Pending()) > 0; {
			if p := c.network.Pending()[0]; waits+len(p.Batch) <= buffer {
				waits += len(p.Batch)
				c.network.Deliver(0)
			} else {
				c.network.Drop(0)
			}
		}
	}
}
