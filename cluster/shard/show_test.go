package shard

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/cluster/transport"
	"parley/persistence/keys"
)

// kindsIn names what a packet carries, in order.
func (c *scripted) kindsIn(p transport.Packet) (kinds []string) {
	names := map[byte]string{kindQuiesce: "Quiesce", kindLeaving: "Leaving", kindRemoved: "Removed"}
	err := readBatch(p.Batch, func(it item) {
		if it.kind == kindRaft {
			kinds = append(kinds, it.message.GetType().String())
			return
		}
		kinds = append(kinds, names[it.kind])
	})
	if err != nil {
		c.t.Error(err)
	}
	return kinds
}

// packets shows what is under way.
func (c *scripted) packets() {
	for _, p := range c.network.Pending() {
		fmt.Fprintf(&c.out, "%s to %s: %v\n", p.From, p.To, c.kindsIn(p))
	}
}

// packet does something to each packet under way that matches, the oldest first, or to that alone.
func (c *scripted) packet(verb, from, to, kind string, first bool) {
	at := 0
	for _, p := range c.network.Pending() {
		if from != "" && p.From != from || to != "" && p.To != to || kind != "" && !slices.Contains(c.kindsIn(p), kind) {
			at++
			continue
		}
		switch verb {
		case "lose":
			c.network.Drop(at)
		case "duplicate":
			c.network.Duplicate(at) // the second goes to the end
			at++
		default:
			c.network.Deliver(at)
		}
		if first {
			return
		}
	}
}

// state shows each node's applied state of the scripts' conversation, and that all agree.
func (c *scripted) state(s keys.Shard) {
	for _, name := range c.names() {
		n := c.nodes[name]
		events := 0
		lo := keys.Event(s, keys.UUID{1}, keys.UUID{7}, 0)
		_ = n.Reader().Scan(lo, keys.Event(s, keys.UUID{1}, keys.UUID{7}, 1<<40), false, func(_, _ []byte) (bool, error) {
			events++
			return true, nil
		})
		fmt.Fprintf(&c.out, "%s: revision %d, %d events\n", name, revisionOf(c.t, n.Reader(), post(s, 7, 0)), events)
	}
}

func (c *scripted) status(n *scriptedNode, s keys.Shard) {
	st, err := n.Status(s)
	if err != nil {
		c.note("", err)
		return
	}
	quiet := ""
	if st.Quiesced {
		quiet = ", quiet"
	}
	fmt.Fprintf(&c.out, "%s of term %d, log %d..%d, commit %d, applied %d%s\n",
		st.Role, st.Term, st.First, st.Last, st.Commit, st.Applied, quiet)
	for _, r := range st.Replicas {
		kind := "learner"
		if r.Voter {
			kind = "voter"
		}
		fmt.Fprintf(&c.out, "  replica %d on %s: %s, match %d\n", r.Replica, r.Node, kind, r.Match)
	}
}

// dropped shows why a node has dropped messages since it was opened.
func (c *scripted) dropped(n *scriptedNode) {
	for _, reason := range []string{dropNoReplica, dropStaleReplica, dropRemoved} {
		if count := testutil.ToFloat64(n.m.dropped.WithLabelValues(reason)); count > 0 {
			fmt.Fprintf(&c.out, "%s\n", reason)
		}
	}
}

// snapshots shows what became of snapshots since the nodes were opened.
func (c *scripted) snapshots() {
	for _, name := range c.names() {
		m := c.nodes[name].m
		for _, how := range [][2]string{{"out", "sent"}, {"out", "failed"}, {"in", "installed"}, {"in", "no_space"}, {"in", "failed"}} {
			if count := testutil.ToFloat64(m.snapshots.WithLabelValues(how[0], how[1])); count > 0 {
				fmt.Fprintf(&c.out, "%s: %s, %s: %v\n", name, how[0], how[1], count)
			}
		}
		if count := testutil.ToFloat64(m.dropped.WithLabelValues(dropSnapshot)); count > 0 {
			fmt.Fprintf(&c.out, "%s: of no use: %v\n", name, count)
		}
	}
}
