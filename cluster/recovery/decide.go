package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"parley/persistence/keys"
)

// Plan says what becomes of every shard.
type Plan struct {
	Cluster string
	Dead    []string     // as they were named, and the nodes of which only removed stores are known
	Gone    []DeadStore  // never members again
	Kept    []keys.Shard // they have a quorum without the dead, and are left alone
	Lost    []keys.Shard // no survivor has anything of them
	Chosen  []Choice
}

// Choice is the replica that becomes the only voter of its shard.
type Choice struct {
	Node string
	Replica
	// Unsure is how many entries of its log it did not know to be committed. They are kept: their
	// outcome was unknown to whoever sent them, or they were acknowledged.
	Unsure uint64
	// Before are the nodes that voted until now, the dead among them.
	Before []string
	// Dropped are the other surviving replicas that have state, by node: they are made anew.
	Dropped map[string]uint64
}

// The refusals of Decide.
var (
	ErrForeignReport = errors.New("the reports are of different clusters, or of one node twice")
	ErrReportMissing = errors.New("the report of a surviving node is missing")
	ErrNotNeeded     = errors.New("every shard has a quorum: nothing has to be recovered")
	ErrDeadReports   = errors.New("a node that is said to be dead, or was removed, has reported")
)

// candidate is a replica with the node that has it.
type candidate struct {
	Replica
	node string
}

// Decide makes the plan from the reports of all survivors. It refuses when nothing is lost, and when a
// survivor is missing: any member may have a replica that knows more than all that have reported, also
// one that votes in no configuration that they know.
func Decide(reports []*Report, dead []string) (*Plan, error) {
	if len(reports) == 0 {
		return nil, ErrReportMissing
	}
	members := Members(reports)
	p := &Plan{Cluster: reports[0].Cluster, Dead: withRemoved(dead, members)}
	p.Gone = goneStores(p.Dead, members)
	if err := p.check(reports, members); err != nil {
		return nil, err
	}
	by := map[keys.Shard][]candidate{}
	var nodes []string
	for _, r := range reports {
		nodes = append(nodes, r.Node)
		for _, replica := range r.Replicas {
			by[replica.Shard] = append(by[replica.Shard], candidate{replica, r.Node})
		}
	}
	for s := keys.Meta; s <= keys.Shard(reports[0].Shards); s++ {
		if err := p.decide(s, by[s], nodes); err != nil {
			return nil, err
		}
	}
	if len(p.Chosen)+len(p.Lost) == 0 {
		return nil, ErrNotNeeded
	}
	return p, nil
}

// check says whether the reports are those of all survivors, and of nobody else.
func (p *Plan) check(reports []*Report, members []Member) error {
	nodes, stores := map[string]bool{}, map[string]bool{}
	for _, r := range reports {
		switch {
		case r.Cluster != p.Cluster || r.Shards != reports[0].Shards || nodes[r.Node]:
			return ErrForeignReport
		case slices.Contains(p.Dead, r.Node) || slices.Contains(p.Gone, DeadStore{r.Node, r.Store}):
			return fmt.Errorf("%s: %w", r.Node, ErrDeadReports)
		}
		nodes[r.Node], stores[r.Store] = true, true
	}
	for _, m := range members {
		if m.Holds && !m.Removed && !stores[m.Store] && !slices.Contains(p.Dead, m.Node) {
			return fmt.Errorf("%s, which is a member and not said to be dead: %w", m.Node, ErrReportMissing)
		}
	}
	return nil
}

// decide is about one shard.
func (p *Plan) decide(s keys.Shard, candidates []candidate, nodes []string) error {
	if len(candidates) == 0 {
		p.Lost = append(p.Lost, s)
		return nil
	}
	// The configuration that counts is the one of who knows most to be committed.
	newest := slices.MaxFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.Commit, b.Commit) })
	for _, node := range newest.Conf.voterNodes() {
		if !slices.Contains(p.Dead, node) && !slices.Contains(nodes, node) {
			return fmt.Errorf("%s, which has a replica of shard %d and is not said to be dead: %w", node, s, ErrReportMissing)
		}
	}
	if newest.Conf.quorum(p.Dead) {
		p.Kept = append(p.Kept, s)
		return nil
	}
	best := slices.MaxFunc(candidates, longer)
	c := Choice{Node: best.node, Replica: best.Replica, Before: newest.Conf.voterNodes(), Dropped: map[string]uint64{}}
	if best.Last > best.Commit {
		c.Unsure = best.Last - best.Commit
	}
	for _, other := range candidates {
		if other.node != best.node {
			c.Dropped[other.node] = other.ID
		}
	}
	p.Chosen = append(p.Chosen, c)
	return nil
}
