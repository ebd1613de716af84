package runtime

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	nodev1 "parley/proto/node/v1"
)

// liveWithin bounds how long one node may take to say who is connected to it.
const liveWithin = 2 * time.Second

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
	nodes := r.members.View().Nodes
	found := make([][]string, len(nodes)+1)
	found[len(nodes)] = r.localLive(application, users)
	var g errgroup.Group
	for i, n := range nodes {
		if n.Name == r.options.NodeName || n.Meta.RPC == "" {
			continue
		}
		g.Go(func() error {
			reply, err := r.request(ctx, n.Name, req)
			if err != nil {
				r.options.Logger.Warn("who is connected to a node is not known", "node", n.Name, "error", err)
			}
			found[i] = reply.GetLive()
			return nil
		})
	}
	_ = g.Wait() // its functions tell their errors themselves
	return slices.Concat(found...)
}
