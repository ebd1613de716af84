package shard

import (
	"errors"
	"slices"
	"testing"
	"time"

	"parley/persistence/keys"
)

// TestThreeHostsOverTCP takes one node to three, loses and regains a follower and a leader, hands
// over, and removes a replica, over real sockets.
func TestThreeHostsOverTCP(t *testing.T) {
	c := newTowns(t, 2, "n1", "n2", "n3", "n4")
	defer c.close()
	for base := range uint64(3) {
		c.post(1, 7, base)
	}
	c.grow("n2", "n3")
	c.post(1, 7, 3)
	c.agree(1, 7, 4, "n1", "n2", "n3")

	// A follower is away for less than the log keeps, then for more.
	c.kill("n3")
	for base := uint64(4); base < 8; base++ {
		c.post(1, 7, base)
	}
	c.revive("n3")
	c.agree(1, 7, 8, "n3")
	c.kill("n3")
	for base := uint64(8); base < 48; base++ {
		c.post(1, 7, base)
	}
	c.truncate(1)
	c.revive("n3")
	c.agree(1, 7, 48, "n3")
	c.await("a log that begins after a snapshot", func() bool {
		status, err := c.nodes["n3"].Status(t.Context(), 1)
		return err == nil && status.First > 40
	})

	// Leadership is handed over and then lost.
	leaving := c.handOver(1, "n3")
	c.post(1, 7, 48)
	c.kill("n3")
	c.post(1, 7, 49)
	c.revive("n3")
	c.agree(1, 7, 50, "n1", "n2", "n3")
	c.swap(leaving)
}

// truncate makes every node drop what its state has.
func (c *towns) truncate(s keys.Shard) {
	for _, n := range c.nodes {
		if n.Host == nil {
			continue
		}
		status, err := n.Status(c.t.Context(), s)
		if errors.Is(err, ErrNoReplica) {
			continue
		}
		c.await("a truncated log", func() bool {
			if err == nil {
				err = n.store.FlushState(c.t.Context())
			}
			if err != nil {
				c.t.Fatal(err)
			}
			n.reportFlushed(map[keys.Shard]uint64{})
			status, err = n.Status(c.t.Context(), s)
			return err == nil && status.First+uint64(n.o.KeepEntries) >= status.Applied
		})
	}
}

// swap moves a replica from n3 to n4 in one joint change, and drops the old one.
func (c *towns) swap(old ReplicaID) {
	id := c.learner(1, "n4")
	c.change(1, Change{Kind: AddVoter, Replica: id}, Change{Kind: Remove, Replica: old})
	for r := range c.nodes["n3"].gone {
		if r.Shard == 1 && r.Replica == old && r.Confirmed {
			break
		}
	}
	if err := c.nodes["n3"].RemoveReplica(c.t.Context(), 1, old); err != nil {
		c.t.Fatal(err)
	}
	c.post(1, 7, 50)
	c.agree(1, 7, 51, "n1", "n2", "n4")
	if _, ok, err := c.nodes["n3"].Reader().Get(keys.Replica(1)); ok || err != nil {
		c.t.Errorf("the removed replica's state is there: %v", err)
	}
}

// TestFailover shows that writes are committed again after a leader's end, and logs how long that takes: when its
// process dies, and when it only falls silent.
func TestFailover(t *testing.T) {
	const rounds = 4
	for name, c := range map[string]struct{ fall, rise func(*towns, string) }{
		"dead":   {(*towns).kill, (*towns).revive},
		"silent": {func(c *towns, n string) { c.silence(n, true) }, func(c *towns, n string) { c.silence(n, false) }},
	} {
		t.Run(name, func(t *testing.T) {
			towns := newTowns(t, 1, "n1", "n2", "n3")
			defer towns.close()
			towns.grow("n2", "n3")
			var took []time.Duration
			for round := range uint64(rounds) {
				towns.post(1, 7, 2*round)
				towns.agree(1, 7, 2*round+1, "n1", "n2", "n3")
				leader, _ := towns.leader(1)
				began := time.Now()
				c.fall(towns, leader.name)
				towns.postWithout(leader, 2*round+1)
				took = append(took, time.Since(began))
				c.rise(towns, leader.name)
			}
			slices.Sort(took)
			t.Logf("first committed write after the leader's end: %v", took)
		})
	}
}
