package system

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"

	"parley/cluster/membership"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// newCluster gives protoactor our provider, lookup and context in place of its own.
func (s *System) newCluster(config *remote.Config) *cluster.Cluster {
	return cluster.New(s.actors, cluster.Configure("parley", provider{}, &lookup{s}, config,
		cluster.WithClusterContextProducer(func(*cluster.Cluster) cluster.Context { return &grainContext{s} }),
		cluster.WithRequestTimeout(s.o.CallTimeout),
		cluster.WithHeartbeatExpiration(time.Duration(1<<63-1))))
}

// provider is protoactor's ClusterProvider. It reports no members: the library's member list
// feeds a block list that never forgets, and Parley asks neither. What a view means for
// connections is done by System.follow.
type provider struct{}

// StartMember implements cluster.ClusterProvider.
func (provider) StartMember(*cluster.Cluster) error {
	return errors.New("every node starts as a client")
}

// StartClient implements cluster.ClusterProvider.
func (provider) StartClient(*cluster.Cluster) error { return nil }

// Shutdown implements cluster.ClusterProvider.
func (provider) Shutdown(bool) error { return nil }

// follow takes addresses from views and gives up connections to nodes that left, so that their
// calls look elsewhere at once. A view is a hint: it never ends a grain nor moves a lead, and
// a node that comes back is reached as before.
func (s *System) follow(ctx context.Context) {
	views, stop := s.o.Views.Watch()
	defer stop()
	known := map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case view := <-views:
			known = s.onView(known, view)
		}
	}
}

func (s *System) onView(known map[string]string, view *membership.View) map[string]string {
	now := map[string]string{}
	for _, node := range view.Nodes {
		if node.Name == s.o.NodeName || node.Meta.RPC == "" {
			continue
		}
		now[node.Name] = node.Meta.RPC
		s.dir.SetAddress(node.Name, node.Meta.RPC)
	}
	for name, addr := range known {
		if now[name] != addr {
			s.peers.drop(addr)
		}
	}
	return now
}

// lookup is protoactor's IdentityLookup: identity, shard, leader, and there the shard's placement.
type lookup struct{ s *System }

// Setup spawns the placements. They restart in place after a panic: which grains live must not
// be forgotten.
func (l *lookup) Setup(*cluster.Cluster, []string, bool) {
	s := l.s
	for n := range s.dir.Shards() + 1 {
		p := s.newPlacement(keys.Shard(n))
		props := actor.PropsFromProducer(func() actor.Actor { return p })
		pid, err := s.actors.Root.SpawnNamed(props, placementName(p.shard))
		if err != nil {
			panic(err) // startCluster makes it an error
		}
		s.placements = append(s.placements, pid)
	}
}

// Get gives the placement that hands requests on to the identity "application/id", or nil while
// no leader is known.
func (l *lookup) Get(id *cluster.ClusterIdentity) *actor.PID {
	application, name, _ := strings.Cut(id.Identity, "/")
	kind := nodev1.Kind_KIND_UNSPECIFIED
	for _, k := range l.s.o.Kinds {
		if k.Name == id.Kind {
			kind = k.Kind
		}
	}
	n, err := ShardOf(&nodev1.GrainRequest{Kind: kind, ApplicationId: application, Id: name}, l.s.dir.Shards())
	lead := l.s.dir.Get(n)
	if err != nil || lead.Addr == "" {
		return nil
	}
	return l.s.caller.target(lead).placement
}

// RemovePid implements cluster.IdentityLookup: nothing is cached beyond an epoch.
func (*lookup) RemovePid(*cluster.ClusterIdentity, *actor.PID) {}

// Shutdown implements cluster.IdentityLookup; System.Close ends the placements.
func (*lookup) Shutdown() {}

// grainContext is protoactor's cluster.Context: calls made through the library take our way.
type grainContext struct{ s *System }

// Request calls a grain with a *node.v1.GrainRequest; identity and kind are those it names.
func (g *grainContext) Request(_, _ string, msg any, _ ...cluster.GrainCallOption) (any, error) {
	req, ok := msg.(*nodev1.GrainRequest)
	if !ok {
		return nil, errNotEnvelope
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.s.o.CallTimeout)
	defer cancel()
	return g.s.caller.Ask(ctx, req)
}

// RequestFuture implements cluster.Context; Caller.AskAsync is the way to call without waiting.
func (*grainContext) RequestFuture(string, string, any, ...cluster.GrainCallOption) (*actor.Future, error) {
	return nil, errors.New("not served: use Caller.AskAsync")
}
