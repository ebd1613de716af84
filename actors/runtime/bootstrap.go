package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/actors/api"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// ErrCannotJoin says that an empty node was told to join a cluster, which this version cannot do:
// it would have to be given replicas by the cluster's placement.
var ErrCannotJoin = errors.New("an empty node cannot join a cluster yet; start it without join to make a new cluster")

// founding makes sure that the store belongs to a cluster, and gives the cluster's id and number
// of data shards. An empty store becomes a new cluster, in steps of which each may be the last
// before a crash: identity, then all replicas in one synced batch.
func founding(ctx context.Context, st *store.Store, o *Options) (store.Identity, uint32, error) {
	identity, known, err := st.Identity()
	if err != nil {
		return identity, 0, fmt.Errorf("read identity: %w", err)
	}
	if known && identity.NodeName != o.NodeName {
		return identity, 0, fmt.Errorf("%s belongs to node %q, not %q", o.DataDir, identity.NodeName, o.NodeName)
	}
	if !known {
		if len(o.Join) > 0 {
			return identity, 0, ErrCannotJoin
		}
		identity = store.Identity{
			ClusterID: id.New(id.Application), NodeName: o.NodeName, StoreUUID: id.New(id.Application),
			CreatedMs: time.Now().UnixMilli(),
		}
		if err := st.SetIdentity(identity); err != nil {
			return identity, 0, fmt.Errorf("write identity: %w", err)
		}
	}
	if err := shard.Bootstrap(ctx, st, o.NodeName, o.Shards); err != nil && !errors.Is(err, shard.ErrExists) {
		return identity, 0, fmt.Errorf("create the cluster: %w", err)
	}
	shards, err := countShards(st)
	return identity, shards, err
}

// countShards counts the data shards by their replicas here: the founding node has one of each.
// The settings row says the same, but it cannot be read before the meta shard is up.
func countShards(st *store.Store) (uint32, error) {
	last := keys.Meta
	for s := keys.Meta; s <= ShardsMax; s++ {
		_, closer, err := st.Log().Get(keys.LocalReplica(s))
		if err != nil {
			continue
		}
		last = s
		if err := closer.Close(); err != nil {
			return 0, fmt.Errorf("count shards: %w", err)
		}
	}
	if last == keys.Meta {
		return 0, errors.New("the store has no data shard")
	}
	return uint32(last), nil
}

// settle writes the cluster's settings once: after the founding, or after a crash in it.
func (r *Runtime) settle(ctx context.Context) error {
	if err := r.WaitReady(ctx); err != nil {
		return nil // closed before it was ready: the next start does it
	}
	target := &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_APPLICATION, ApplicationId: api.Operators, Id: api.Operators}
	_, ok, err := r.host.Reader().Get(keys.Settings())
	if err != nil || ok {
		return err
	}
	target.Command = &nodev1.Command{
		Principal: &nodev1.Principal{Admin: true},
		Body: &nodev1.Command_PutSettings{PutSettings: &nodev1.PutSettings{Settings: &eventv1.ClusterSettings{
			ClusterId: r.identity.ClusterID, Shards: r.shards, Version: 1, CreatedMs: r.identity.CreatedMs,
		}}},
	}
	reply, err := r.system.Caller().Ask(ctx, target)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err == nil && reply.Error != nil {
		err = code.New(code.Code(reply.Error.Code), "%s", reply.Error.Message)
	}
	if err != nil {
		r.options.Logger.Error("the cluster's settings could not be written; the next start tries again", "error", err)
	}
	return nil
}
