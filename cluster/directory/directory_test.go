package directory

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"parley/cluster/shard"
	"parley/persistence/keys"
)

func TestSetKeepsTheNewestKnowledge(t *testing.T) {
	local := func(e shard.Epoch, ready bool) shard.Lead {
		return shard.Lead{Shard: 3, Node: "n1", Epoch: e, Local: true, Ready: ready}
	}
	steps := []struct {
		name string
		do   func(*Table) bool
		took bool
		want Lead
	}{
		{"a first lead", func(t *Table) bool { return t.Set(local(5, false)) }, true, Lead{Lead: local(5, false), Addr: "a1"}},
		{"the same again", func(t *Table) bool { return t.Set(local(5, false)) }, false, Lead{Lead: local(5, false), Addr: "a1"}},
		{"readiness is added", func(t *Table) bool { return t.Set(local(5, true)) }, true, Lead{Lead: local(5, true), Addr: "a1"}},
		{"readiness is not taken back", func(t *Table) bool { return t.Set(local(5, false)) }, false, Lead{Lead: local(5, true), Addr: "a1"}},
		{"an older epoch", func(t *Table) bool { return t.Set(local(4, true)) }, false, Lead{Lead: local(5, true), Addr: "a1"}},
		{"an older announcement", func(t *Table) bool { return t.Announce(3, "n2", 4) }, false, Lead{Lead: local(5, true), Addr: "a1"}},
		{"lost in the same epoch", func(t *Table) bool { return t.Set(shard.Lead{Shard: 3, Epoch: 5}) }, true,
			Lead{Lead: shard.Lead{Shard: 3, Epoch: 5}, Lost: true}},
		{"no way back in that epoch", func(t *Table) bool { return t.Set(local(5, true)) }, false,
			Lead{Lead: shard.Lead{Shard: 3, Epoch: 5}, Lost: true}},
		{"gossip about ourselves", func(t *Table) bool { return t.Announce(3, "n1", 9) }, false,
			Lead{Lead: shard.Lead{Shard: 3, Epoch: 5}, Lost: true}},
		{"a newer announcement", func(t *Table) bool { return t.Announce(3, "n2", 6) }, true,
			Lead{Lead: shard.Lead{Shard: 3, Node: "n2", Epoch: 6, Ready: true}, Addr: "a2"}},
		{"a shard that does not exist", func(t *Table) bool { return t.Announce(99, "n2", 6) }, false,
			Lead{Lead: shard.Lead{Shard: 3, Node: "n2", Epoch: 6, Ready: true}, Addr: "a2"}},
	}
	table := New("n1", 4)
	table.SetAddress("n1", "a1")
	table.SetAddress("n2", "a2")
	for _, s := range steps {
		if took := s.do(table); took != s.took {
			t.Errorf("%s: took %v, want %v", s.name, took, s.took)
		}
		if got := table.Get(3); got != s.want {
			t.Errorf("%s: got %+v, want %+v", s.name, got, s.want)
		}
	}
	if got := table.Get(99); got.Node != "" || got.Shard != 99 {
		t.Errorf("a shard that does not exist: %+v", got)
	}
}

func TestAddressesReachLeads(t *testing.T) {
	table := New("n1", 4)
	var heard []Lead
	table.OnChange(func(l Lead) { heard = append(heard, l) })
	table.Announce(2, "n2", 7)
	table.SetAddress("n2", "127.0.0.1:7")
	table.SetAddress("n2", "127.0.0.1:7") // nothing new
	table.SetAddress("n3", "127.0.0.1:8") // leads nothing
	if len(heard) != 2 || heard[1].Addr != "127.0.0.1:7" || table.Get(2).Addr != "127.0.0.1:7" {
		t.Errorf("heard %+v", heard)
	}
	if table.Addr("n2") != "127.0.0.1:7" || table.Addr("n3") != "127.0.0.1:8" {
		t.Errorf("addresses %q and %q", table.Addr("n2"), table.Addr("n3"))
	}
}

// TestNamesThatComeAndGo: a node is reached however many others had names before it; of those the ones that lead stay.
func TestNamesThatComeAndGo(t *testing.T) {
	table := New("n1", 4)
	table.SetAddress("n1", "a1")
	table.SetAddress("n2", "a2")
	table.Announce(2, "n2", 7)
	for i := range 3 * nodesMax {
		name := fmt.Sprint("edge-", i)
		if table.SetAddress(name, "a"); table.Addr(name) != "a" {
			t.Fatalf("%s is not reached", name)
		}
	}
	if table.Addr("n1") != "a1" || table.Addr("n2") != "a2" || table.Get(2).Addr != "a2" {
		t.Errorf("who leads is at %q, this node at %q", table.Addr("n2"), table.Addr("n1"))
	}
	if len(table.addresses) > nodesMax {
		t.Errorf("%d addresses are kept", len(table.addresses))
	}
}

// TestMonotone: whatever arrives in whatever order, a reader never sees an epoch go back, nor
// knowledge about one epoch shrink; and watchers hear exactly the stored sequence.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New("n1", 3)
		last := map[keys.Shard]Lead{}
		table.OnChange(func(l Lead) {
			before := last[l.Shard]
			if l.Epoch < before.Epoch || (l.Epoch == before.Epoch && rank(l) <= rank(before) && l.Addr == before.Addr) {
				t.Fatalf("shard %d went from %+v to %+v", l.Shard, before, l)
			}
			last[l.Shard] = l
		})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			s := keys.Shard(rapid.IntRange(0, 4).Draw(t, "shard"))
			epoch := shard.Epoch(rapid.IntRange(0, 6).Draw(t, "epoch"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				table.Announce(s, rapid.SampledFrom([]string{"", "n1", "n2", "n3"}).Draw(t, "node"), epoch)
			case 1:
				table.Set(shard.Lead{Shard: s, Node: "n1", Epoch: epoch, Local: true, Ready: rapid.Bool().Draw(t, "ready")})
			case 2:
				table.LeadChanged(shard.Lead{Shard: s, Epoch: epoch})
			case 3:
				table.SetAddress(rapid.SampledFrom([]string{"n2", "n3"}).Draw(t, "node"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "addr"))
			}
			for s, l := range last {
				if table.Get(s) != l {
					t.Fatalf("reader sees %+v, watchers heard %+v", table.Get(s), l)
				}
			}
		}
	})
}

func TestReadersRaceWriters(t *testing.T) {
	table := New("n1", 2)
	var group sync.WaitGroup
	group.Go(func() {
		for e := shard.Epoch(1); e <= 1000; e++ {
			table.Set(shard.Lead{Shard: 1, Node: "n1", Epoch: e, Local: true, Ready: true})
		}
	})
	group.Go(func() {
		var newest shard.Epoch
		for range 1000 {
			l := table.Get(1)
			if l.Epoch < newest {
				t.Errorf("epoch %d after %d", l.Epoch, newest)
			}
			newest = l.Epoch
		}
	})
	group.Wait()
}
