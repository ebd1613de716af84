package placement

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"parley/persistence/keys"
)

// Assignment says which nodes each shard's replicas belong on, by name.
type Assignment map[keys.Shard][]string

// Assign gives every shard its nodes: those it has, as far as these keep replicas, then the least
// loaded ones; then replicas move from full nodes to empty ones until no two differ by more than
// one. It moves no more than that asks for, and gives the same for the assignment it led to.
func Assign(v *View) Assignment {
	a := &assigner{view: v, load: map[string]int{}, at: Assignment{}}
	for _, n := range v.Nodes {
		if n.Keeps {
			a.nodes = append(a.nodes, n.Name)
			a.load[n.Name] = 0
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
	view  *View
	nodes []string // that keep replicas
	load  map[string]int
	at    Assignment
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

// fit brings the shard to its number of replicas.
func (a *assigner) fit(s keys.Shard) {
	wanted := a.view.Wanted(s)
	for len(a.at[s]) > wanted {
		full := a.pick(s, a.at[s], func(load, best int) bool { return load > best })
		a.drop(s, full)
	}
	for len(a.at[s]) < wanted {
		var free []string
		for _, n := range a.nodes {
			if !slices.Contains(a.at[s], n) {
				free = append(free, n)
			}
		}
		a.add(s, a.pick(s, free, func(load, best int) bool { return load < best }))
	}
}

// level moves replicas from the fullest node to the emptiest. Each move makes the loads more
// alike, so it ends.
func (a *assigner) level() {
	for {
		full, empty := a.extremes()
		if a.load[full]-a.load[empty] < 2 || !a.moveOne(full, empty) {
			return
		}
	}
}

func (a *assigner) extremes() (full, empty string) {
	full, empty = a.nodes[0], a.nodes[0]
	for _, n := range a.nodes {
		if a.load[n] > a.load[full] {
			full = n
		}
		if a.load[n] < a.load[empty] {
			empty = n
		}
	}
	return full, empty
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
