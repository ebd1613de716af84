package recovery

import "slices"

// Member is a store that is, or was, part of the cluster, as the members' rows say it. What has state in
// the survivor's own store may be old; Members puts the survivors' knowledge together.
type Member struct {
	Node        string   `json:"node"`
	Store       string   `json:"store_uuid"`
	Incarnation uint64   `json:"incarnation"` // of the node's last start that is known
	Removed     bool     `json:"removed"`     // its membership has ended, for ever
	Holds       bool     `json:"holds_replicas"`
	Addresses   []string `json:"addresses"` // host:port, where it was last heard
}

// Members lists the stores that any of the reports knows, in the order in which they are first named. The
// latest start of a node says where it is; an end of a membership that one of them has heard of counts.
func Members(reports []*Report) []Member {
	var all []Member
	for _, r := range reports {
		for _, m := range r.Members {
			i := slices.IndexFunc(all, func(known Member) bool { return known.Store == m.Store })
			if i < 0 {
				all = append(all, m)
				continue
			}
			removed := all[i].Removed || m.Removed
			if m.Incarnation > all[i].Incarnation {
				all[i] = m
			}
			all[i].Removed = removed
		}
	}
	return all
}

// withRemoved gives the dead and, with them, the nodes of which only removed stores are known: a shard that
// had no time to move may still count on their votes.
func withRemoved(dead []string, members []Member) []string {
	dead = slices.Clone(dead)
	for _, m := range members {
		stays := slices.ContainsFunc(members, func(o Member) bool { return o.Node == m.Node && !o.Removed })
		if !stays && !slices.Contains(dead, m.Node) {
			dead = append(dead, m.Node)
		}
	}
	return dead
}

// goneStores are the stores that must never come back: those of the dead, and those that were removed
// before, of which the replica that is chosen for the meta shard may not have heard.
func goneStores(dead []string, members []Member) (gone []DeadStore) {
	for _, m := range members {
		if m.Removed || slices.Contains(dead, m.Node) {
			gone = append(gone, DeadStore{m.Node, m.Store})
		}
	}
	return gone
}
