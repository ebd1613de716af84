package placement

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"parley/persistence/keys"
)

// Assignment says which nodes each shard's replicas belong on, by name.
type Assignment map[keys.Shard][]string

// Assign gives every shard its nodes: those it has, as far as these keep replicas, then the least
// loaded ones; then replicas move from nodes with many to nodes with few until no two differ by more than
// one. It moves no more than that asks for, and gives the same for the assignment it led to. A node whose
// disk is full gets nothing new: a shard for which there is no other has fewer nodes than it should.
func Assign(v *View) Assignment {
	a := &assigner{view: v, load: map[string]int{}, at: Assignment{}}
	for _, n := range v.Nodes {
		if !n.Keeps {
			continue
		}
		a.load[n.Name] = 0
		if a.nodes = append(a.nodes, n.Name); !n.Full {
			a.takers = append(a.takers, n.Name)
		}
	}
	if len(a.nodes) == 0 {
		return a.at
	}
	for i := range v.Shards {
		a.keep(&v.Shards[i])
	}
	for i := range v.Shards {
		a.fit(v.Shards[i].ID)
	}
	a.level()
	return a.at
}

type assigner struct {
	view   *View
	nodes  []string // that keep replicas
	takers []string // and get new ones
	load   map[string]int
	at     Assignment
}

// keep notes where the shard is and may stay.
func (a *assigner) keep(s *Shard) {
	var on []string
	for _, r := range s.Rows {
		if _, keeps := a.load[r.Node]; keeps && r.Role != Leaving && !slices.Contains(on, r.Node) {
			on = append(on, r.Node)
			a.load[r.Node]++
		}
	}
	a.at[s.ID] = on
}

// fit brings the shard to its number of replicas, or as near as it can.
func (a *assigner) fit(s keys.Shard) {
	wanted := a.view.Wanted(s)
	for len(a.at[s]) > wanted {
		a.drop(s, a.pick(s, a.at[s], func(load, best int) bool { return load > best }))
	}
	for len(a.at[s]) < wanted {
		var free []string
		for _, n := range a.takers {
			if !slices.Contains(a.at[s], n) {
				free = append(free, n)
			}
		}
		if len(free) == 0 {
			return
		}
		a.add(s, a.pick(s, free, func(load, best int) bool { return load < best }))
	}
}

// level moves replicas from the node with the most to the one with the fewest. Each move makes the loads
// more alike, so it ends.
func (a *assigner) level() {
	for len(a.takers) > 0 {
		most := a.extreme(a.nodes, func(load, best int) bool { return load > best })
		fewest := a.extreme(a.takers, func(load, best int) bool { return load < best })
		if a.load[most]-a.load[fewest] < 2 || !a.moveOne(most, fewest) {
			return
		}
	}
}

// extreme is the first node with the best load.
func (a *assigner) extreme(nodes []string, better func(load, best int) bool) string {
	best := nodes[0]
	for _, n := range nodes {
		if better(a.load[n], a.load[best]) {
			best = n
		}
	}
	return best
}

// moveOne moves the first shard that may: not the meta shard, which should rest.
func (a *assigner) moveOne(from, to string) bool {
	for i := range a.view.Shards {
		s := a.view.Shards[i].ID
		if s != keys.Meta && slices.Contains(a.at[s], from) && !slices.Contains(a.at[s], to) {
			a.drop(s, from)
			a.add(s, to)
			return true
		}
	}
	return false
}

func (a *assigner) add(s keys.Shard, node string) {
	a.at[s] = append(a.at[s], node)
	a.load[node]++
}

func (a *assigner) drop(s keys.Shard, node string) {
	a.at[s] = slices.DeleteFunc(a.at[s], func(n string) bool { return n == node })
	a.load[node]--
}

// pick gives the best candidate by load; among equals the one that the hash of shard and node
// prefers, so that the copies of two shards do not always share their nodes.
func (a *assigner) pick(s keys.Shard, candidates []string, better func(load, best int) bool) string {
	best := candidates[0]
	for _, n := range candidates[1:] {
		if better(a.load[n], a.load[best]) || a.load[n] == a.load[best] && weight(s, n) > weight(s, best) {
			best = n
		}
	}
	return best
}

func weight(s keys.Shard, node string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write([]byte{byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)})
	_, _ = d.WriteString(node)
	return d.Sum64()
}
