package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/actors/grain"
	"parley/actors/placement"
	"parley/cluster/membership"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// errSeveralClusters says that the nodes to join belong to different clusters.
var errSeveralClusters = errors.New("the nodes to join belong to different clusters")

// errNoShards says that a node without the role shards was to found a cluster.
var errNoShards = errors.New("a node without the role shards keeps no data and cannot found a cluster: let it join one")

// belong makes sure that the store belongs to a cluster. An empty store without Join becomes a
// new cluster, in steps of which each may be the last before a crash: identity, then all replicas
// in one synced batch. With Join it never does: it waits, as long as ctx lasts, for a node that
// says which cluster this is.
func (r *Runtime) belong(ctx context.Context) error {
	identity, known, err := r.store.Identity()
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	o := &r.options
	if known && identity.NodeName != o.NodeName {
		return fmt.Errorf("%s belongs to node %q, not %q", o.DataDir, identity.NodeName, o.NodeName)
	}
	if !known {
		identity = store.Identity{NodeName: o.NodeName, StoreUUID: id.New(id.Application), CreatedMs: o.Now().UnixMilli()}
		if identity.ClusterID, identity.Shards, err = r.choose(ctx); err != nil {
			return err
		}
		identity.Joined = len(o.Join) > 0
		if err := r.store.SetIdentity(identity); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	if identity.Shards == 0 {
		if identity, err = countShards(r.store, identity, o.Shards); err != nil {
			return err
		}
	}
	r.identity, r.shards = identity, identity.Shards
	return r.found(ctx)
}

// choose says which cluster an empty store is to belong to: a new one, or that of the others.
func (r *Runtime) choose(ctx context.Context) (cluster string, shards uint32, err error) {
	if len(r.options.Join) == 0 {
		if !r.options.keepsShards() {
			return "", 0, errNoShards
		}
		return id.New(id.Application), r.options.Shards, nil
	}
	r.options.Logger.Info("waiting for a node of the cluster to join", "join", r.options.Join)
	views, stop := r.members.Watch()
	defer stop()
	for {
		select {
		case view := <-views:
			if cluster, shards, err = clusterOf(view); err != nil || cluster != "" {
				return cluster, shards, err
			}
		case <-ctx.Done():
			return "", 0, fmt.Errorf("join the cluster: no node of it was found: %w", context.Cause(ctx))
		}
	}
}

func clusterOf(view *membership.View) (cluster string, shards uint32, err error) {
	for _, n := range view.Nodes {
		switch {
		case n.Meta.Cluster == "" || n.Meta.Shards == 0:
		case cluster == "":
			cluster, shards = n.Meta.Cluster, n.Meta.Shards
		case cluster != n.Meta.Cluster:
			return "", 0, errSeveralClusters
		}
	}
	return cluster, shards, nil
}

// found makes the replicas of a new cluster, if the last start did not come to it.
func (r *Runtime) found(ctx context.Context) error {
	if r.identity.Joined {
		return nil
	}
	err := shard.Bootstrap(ctx, r.store, r.options.NodeName, r.shards)
	if err != nil && !errors.Is(err, shard.ErrExists) {
		return fmt.Errorf("create the cluster: %w", err)
	}
	return nil
}

// countShards counts the data shards of a store that does not say how many there are: it founded
// its cluster, so it has one replica of each. One without any was cut short before it made them.
func countShards(st *store.Store, identity store.Identity, planned uint32) (store.Identity, error) {
	for s := keys.Meta; s <= ShardsMax; s++ {
		_, closer, err := st.Log().Get(keys.LocalReplica(s))
		if err != nil {
			continue
		}
		identity.Shards = uint32(s)
		if err := closer.Close(); err != nil {
			return identity, fmt.Errorf("count shards: %w", err)
		}
	}
	if identity.Shards == 0 {
		identity.Shards = planned
	}
	if err := st.SetIdentity(identity); err != nil {
		return identity, fmt.Errorf("write identity: %w", err)
	}
	return identity, nil
}

// foundingReplica is the replica of the meta shard that only the store has that founded the cluster.
const foundingReplica = 1

// settle writes what a new cluster begins with: its settings, and where its shards are. Each is
// written once; a crash in between leaves the rest to the next start.
func (r *Runtime) settle(ctx context.Context) {
	replica, err := r.metaReplica()
	if err != nil {
		r.options.Logger.Error("the new cluster could not be looked at; the next start tries again", "error", err)
	}
	if replica != foundingReplica {
		return
	}
	r.settleRow(ctx, keys.Settings(), nodev1.Kind_KIND_APPLICATION, r.settings())
	r.settleRow(ctx, keys.Placement(), nodev1.Kind_KIND_PLACEMENT, r.founding())
}

// settleRow has one row written, if it is not there, until that has happened or the node closes.
func (r *Runtime) settleRow(ctx context.Context, row []byte, kind nodev1.Kind, c *nodev1.Command) {
	repeat(ctx, func() bool {
		if _, ok, err := r.host.Reader().Get(row); ok || err != nil {
			return true // damage is told by who reads more of it
		}
		err := r.ask(ctx, kind, c)
		if err != nil && ctx.Err() == nil {
			r.options.Logger.Warn("a row of the new cluster is not written yet", "error", err)
		}
		return err == nil
	})
}

func (r *Runtime) settings() *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PutSettings{PutSettings: &nodev1.PutSettings{Settings: &eventv1.ClusterSettings{
		ClusterId: r.identity.ClusterID, Shards: r.shards, Version: 1, CreatedMs: r.identity.CreatedMs,
	}}}}
}

// founding places every shard where Bootstrap has made its one replica.
func (r *Runtime) founding() *nodev1.Command {
	f := &nodev1.FoundPlacement{Founder: r.self(), NextReplica: uint64(r.shards) + foundingReplica + 1, Version: uint32(r.options.Versions.Newest)}
	for s := range r.shards + 1 {
		f.Shards = append(f.Shards, &eventv1.ShardMap{Shard: s, Replicas: []*eventv1.PlacedReplica{{
			Id: uint64(s) + foundingReplica, Node: r.options.NodeName, Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER,
		}}})
	}
	return &nodev1.Command{Body: &nodev1.Command_FoundPlacement{FoundPlacement: f}}
}

// ask has the operator's rows or the placement changed, as a node. The id of both is the nil UUID.
func (r *Runtime) ask(ctx context.Context, kind nodev1.Kind, c *nodev1.Command) error {
	c.Principal = &nodev1.Principal{Admin: true}
	reply, err := r.system.Caller().Ask(ctx, &nodev1.GrainRequest{Kind: kind, ApplicationId: placement.ID, Id: placement.ID, Command: c})
	if err != nil {
		return err
	}
	return grain.CodedError(reply.Error)
}

// metaReplica gives the replica of the meta shard in this store, 0 for none.
func (r *Runtime) metaReplica() (uint64, error) {
	row, closer, err := r.store.Log().Get(keys.LocalReplica(keys.Meta))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the replica of the meta shard: %w", err)
	}
	local, err := raftlog.DecodeLocal(row)
	if err := errors.Join(err, closer.Close()); err != nil {
		return 0, fmt.Errorf("read the replica of the meta shard: %w", err)
	}
	if local.Removed {
		return 0, nil
	}
	return local.Replica, nil
}
