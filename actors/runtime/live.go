package runtime

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/actors/driver"
	"parley/cluster/membership"
	nodev1 "parley/proto/node/v1"
)

const (
	// liveWithin bounds how long one node may take to say who is connected to it.
	liveWithin = 2 * time.Second
	// connectedWithin is the same while a login waits, for each of up to three questions.
	connectedWithin = 500 * time.Millisecond
	// silentEvery is how often the log tells of a node that does not say it.
	silentEvery = time.Minute
)

// localLive gives those of the users that are connected to this node's edge.
func (r *Runtime) localLive(application string, users []string) []string {
	if r.options.Live == nil {
		return nil
	}
	return r.options.Live(application, users)
}

// live gives those of the users that are connected to any edge. Who is connected to a node that does
// not answer counts as away: one notification too many is better than none at all.
func (r *Runtime) live(ctx context.Context, application string, users []string) []string {
	ctx, cancel := context.WithTimeout(ctx, liveWithin)
	defer cancel()
	req := &nodev1.GrainRequest{ApplicationId: application, Query: &nodev1.Query{
		Body: &nodev1.Query_ListLive{ListLive: &nodev1.ListLive{Users: users}}}}
	live := r.localLive(application, users)
	for _, reply := range r.gather(ctx, req) {
		live = append(live, reply.GetLive()...)
	}
	return live
}

// localConnected answers for this node's edge.
func (r *Runtime) localConnected(application string, q *nodev1.ListSessions) *nodev1.Reply {
	if r.options.Connected == nil {
		return &nodev1.Reply{}
	}
	return r.options.Connected(application, q)
}

// Connected lists those of a user's sessions that are connected to each other edge, and has the one that
// moves let go of. The answer of an edge that gives none in time, or before ctx ends, is nil.
func (r *Runtime) Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	ctx, cancel := context.WithTimeout(ctx, connectedWithin)
	defer cancel()
	return r.gather(ctx, &nodev1.GrainRequest{ApplicationId: application, Query: &nodev1.Query{Body: &nodev1.Query_ListSessions{ListSessions: q}}})
}

// Edges is how many other nodes have an edge, as gossip has them.
func (r *Runtime) Edges() int { return len(r.edges()) }

// edges is all nodes with an edge but this one.
func (r *Runtime) edges() []membership.Node {
	return slices.DeleteFunc(slices.Clone(r.members.View().Nodes), func(n membership.Node) bool {
		bare := len(n.Meta.Roles) > 0 && !slices.Contains(n.Meta.Roles, driver.RoleEdge)
		return n.Name == r.options.NodeName || n.Meta.RPC == "" || bare
	})
}

// gather asks all other edges at once. The answer of one that gives none is nil.
func (r *Runtime) gather(ctx context.Context, req *nodev1.GrainRequest) []*nodev1.Reply {
	nodes := r.edges()
	replies := make([]*nodev1.Reply, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			reply, err := r.request(ctx, n.Name, req)
			if err != nil {
				r.warnSilent(n.Name, err)
			}
			replies[i] = reply
			return nil
		})
	}
	_ = g.Wait() // its functions tell their errors themselves
	return replies
}

// warnSilent tells of a node that does not say who is connected to it. Every login may notice it.
func (r *Runtime) warnSilent(node string, err error) {
	if held, say := r.silent.Says(node, time.Now()); say {
		r.options.Logger.Warn("who is connected to a node is not known", "node", node, "error", err, "held_back", held)
	}
}
