package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// cluster is the real thing: hosts over TCP in this process, each with a store of its own. Every
// shard has a voter on each of them, and leads are spread evenly.
type cluster struct {
	nodes  []*node
	epochs []shard.Epoch // by shard
}

// node is one of them.
type node struct {
	*shard.Host
	name    string
	store   *store.Store
	metrics *prometheus.Registry
}

// addresses tells all nodes where the others listen. They are known before the first dial.
type addresses map[string]string

// Address implements transport.Addresses.
func (a addresses) Address(node string) (string, bool) {
	address, ok := a[node]
	return address, ok
}

// unheard is the Observer of hosts that are asked instead.
type unheard struct{}

// LeadChanged implements shard.Observer.
func (unheard) LeadChanged(shard.Lead) {}

// growWithin bounds the making of a cluster.
const growWithin = 2 * time.Minute

// patience is for how long a node may be silent, or its disk busy, before it counts as lost. Nothing
// fails here, and a machine that is busy with something else must not look as if something had.
const patience = 5 * time.Second

// openCluster makes a cluster of nodes with shards 0 to shards.
func openCluster(dir string, nodes, shards int) (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), growWithin)
	defer cancel()
	c := &cluster{epochs: make([]shard.Epoch, shards+1)}
	known := addresses{}
	links := make([]*transport.TCP, nodes)
	for i := range links {
		o := transport.DefaultTCPOptions()
		o.Identity = transport.Identity{Cluster: "bench", Node: nodeName(i), Store: nodeName(i), Incarnation: 1}
		o.SilentAfter = patience
		var err error
		if links[i], err = transport.ListenTCP("127.0.0.1:0", known, o); err != nil {
			return nil, err
		}
		known[nodeName(i)] = links[i].Addr().String()
	}
	for i, link := range links {
		n, err := openNode(ctx, dir, nodeName(i), link, shards, i == 0)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	const atOnce = 16
	var g errgroup.Group
	g.SetLimit(atOnce)
	for s := range c.epochs {
		g.Go(func() error { return c.settle(ctx, keys.Shard(s)) })
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// openNode opens a host. The first one of a cluster has a replica of every shard.
func openNode(ctx context.Context, dir, name string, link transport.Transport, shards int, first bool) (*node, error) {
	n := &node{name: name, metrics: prometheus.NewRegistry()}
	so := store.DefaultOptions()
	so.Metrics = n.metrics
	var err error
	if n.store, err = store.Open(filepath.Join(dir, name), so); err != nil {
		return nil, err
	}
	if first {
		if err := shard.Bootstrap(ctx, n.store, name, uint32(shards)); err != nil {
			return nil, err
		}
	}
	o := shard.DefaultOptions()
	o.Node, o.Metrics = name, n.metrics
	o.ElectionTicks, o.StallAfter = int(patience/o.TickInterval), patience
	n.Host, err = shard.Open(n.store, link, unheard{}, o)
	return n, err
}

// settle gives a shard its replicas and the leader that is due to it.
func (c *cluster) settle(ctx context.Context, s keys.Shard) error {
	due := int(s) % len(c.nodes)
	replicas, err := c.grow(ctx, s)
	if err != nil {
		return err
	}
	return until(ctx, fmt.Sprintf("%s leads shard %d", c.nodes[due].name, s), func() bool {
		lead := c.nodes[due].Lead(s)
		c.epochs[s] = lead.Epoch
		if !lead.Local {
			c.nodes[0].Transfer(s, replicas[due]) // an attempt may come to nothing
		}
		return lead.Local && lead.Ready
	})
}

// grow makes a voter of a shard on every node but the first, which has one.
func (c *cluster) grow(ctx context.Context, s keys.Shard) ([]shard.ReplicaID, error) {
	shards, replicas := len(c.epochs), []shard.ReplicaID{shard.ReplicaID(s) + 1}
	if len(c.nodes) == 1 {
		return replicas, nil
	}
	var learn, vote []shard.Change
	for i, n := range c.nodes[1:] {
		// Ids are unique over all shards; Bootstrap has given one to each.
		id := shard.ReplicaID((i+1)*shards + int(s) + 1)
		if err := n.AddReplica(s, id); err != nil {
			return nil, err
		}
		replicas = append(replicas, id)
		learn = append(learn, shard.Change{Kind: shard.AddLearner, Replica: id, Node: n.name})
		vote = append(vote, shard.Change{Kind: shard.AddVoter, Replica: id})
	}
	for _, changes := range [][]shard.Change{learn, vote} {
		if err := c.change(ctx, s, changes); err != nil {
			return nil, err
		}
	}
	return replicas, nil
}

// change asks the first node for a change of configuration, again while it cannot be yet.
func (c *cluster) change(ctx context.Context, s keys.Shard, changes []shard.Change) error {
	var failed error
	err := until(ctx, fmt.Sprintf("shard %d is changed", s), func() bool {
		done := make(chan error, 1)
		c.nodes[0].ChangeConf(s, 0, changes, func(err error) { done <- err })
		failed = <-done
		return !errors.Is(failed, shard.ErrNotLeader) && !errors.Is(failed, shard.ErrChangeInFlight) && !errors.Is(failed, shard.ErrNotCaughtUp)
	})
	return errors.Join(err, failed)
}

// until asks again and again until something holds.
func until(ctx context.Context, what string, holds func() bool) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: never came: %w", what, ctx.Err())
		case <-again.C:
		}
	}
	return nil
}

// commit implements contestant.
func (c *cluster) commit(w *shard.Write, s keys.Shard, done func(error)) {
	leader := c.nodes[int(s)%len(c.nodes)]
	leader.Propose(shard.Proposal{Shard: s, Epoch: c.epochs[s], Write: *w, Done: done})
}

// syncs implements contestant: those of all nodes, of files and directories.
func (c *cluster) syncs() (uint64, error) {
	var all uint64
	for _, n := range c.nodes {
		count, err := syncsOf(n.metrics)
		if err != nil {
			return 0, err
		}
		all += count
	}
	return all, nil
}

// syncsOf counts what a store's files were synced.
func syncsOf(g prometheus.Gatherer) (count uint64, err error) {
	families, err := g.Gather()
	if err != nil {
		return 0, err
	}
	for _, f := range families {
		if f.GetName() != "parley_persistence_sync_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			count += m.GetHistogram().GetSampleCount()
		}
	}
	return count, nil
}

// awake says how many of the cluster's replicas have not fallen idle.
func (c *cluster) awake() (int, error) {
	awake := 0
	for _, n := range c.nodes {
		families, err := n.metrics.Gather()
		if err != nil {
			return 0, err
		}
		awake += len(c.epochs)
		for _, f := range families {
			if f.GetName() == "parley_shard_idle_shards" {
				awake -= int(f.GetMetric()[0].GetGauge().GetValue())
			}
		}
	}
	return awake, nil
}

// close implements contestant.
func (c *cluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Host.Close())
	}
	for _, n := range c.nodes {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
