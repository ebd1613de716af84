package cluster

import (
	"slices"

	"parley/cluster/shard"
	"parley/persistence/keys"
)

// replicas follows all replicas that ever were, for invariant I4: an id is given once, to one replica of
// one shard, and when that has left the shard's configuration it never comes back.
type replicas struct {
	w    *World
	made map[shard.ReplicaID]string                    // by whom
	in   [shards + 1]map[shard.ReplicaID]configuration // those that were in a configuration
}

// configuration is what is known of one replica's part in its shard. An index below which a replica has
// surely been is in, one from which on it surely is not is out.
type configuration struct{ in, out uint64 }

func newReplicas(w *World) *replicas {
	r := &replicas{w: w, made: map[shard.ReplicaID]string{}}
	for s := range r.in {
		r.in[s] = map[shard.ReplicaID]configuration{}
		r.made[shard.ReplicaID(s+1)] = "n1" // by its founding
	}
	return r
}

// add notes that a node has made an empty replica.
func (r *replicas) add(node string, s keys.Shard, id shard.ReplicaID) {
	if by, again := r.made[id]; again {
		r.w.fail("I4", "%s makes replica %d of shard %d, which %s has made before", node, id, s, by)
	}
	r.made[id] = node
}

// look compares the configurations that a node has applied with those that others had.
func (r *replicas) look(n *node) {
	for s := keys.Meta; s <= shards; s++ {
		status, err := n.stepper.Status(s)
		if err != nil || len(status.Replicas) == 0 {
			continue
		}
		// What it shows is of an index between what it has applied and what it knows to be committed.
		for _, m := range status.Replicas {
			c := r.in[s][m.Replica]
			if c.out != 0 && c.out <= status.Applied {
				r.w.fail("I4", "%s has replica %d in shard %d at %d, which had left by %d", n.name, m.Replica, s, status.Applied, c.out)
			}
			c.in = max(c.in, status.Commit)
			r.in[s][m.Replica] = c
		}
		for id, c := range r.in[s] {
			if c.out == 0 && c.in < status.Applied && !slices.ContainsFunc(status.Replicas, func(m shard.ReplicaStatus) bool { return m.Replica == id }) {
				c.out = status.Commit
				r.in[s][id] = c
			}
		}
	}
}
