package main

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/conversation"
	"parley/actors/grain"
	"parley/actors/system"
	"parley/cluster/directory"
	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// shards is how many data shards the cluster has, which is the default.
const shards = 64

// stage is two nodes: the first leads all shards and hosts the grains, the second only calls.
type stage struct {
	store *store.Store
	host  *shard.Host
	here  *system.System
	there *system.System
}

// passivation is how long conversations stay without commands, and how often that is looked at.
type passivation struct{ after, tick time.Duration }

// bareKind stands for a grain that answers at once: what remains is the actors' part of a call.
const bareKind = nodev1.Kind_KIND_USER

// openStage opens both nodes on a directory, which may hold what an earlier stage left.
func openStage(dir string, p passivation) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.store, err = store.Open(dir, store.DefaultOptions()); err != nil {
		return s, err
	}
	const name = "here"
	if err = shard.Bootstrap(bounded(), s.store, name, shards); err != nil && !errors.Is(err, shard.ErrExists) {
		return s, err
	}
	leads := directory.New(name, shards)
	ready := make(chan struct{}, shards+1) // one for each shard
	leads.OnChange(func(l directory.Lead) {
		if l.Serves() {
			select {
			case ready <- struct{}{}:
			default: // an address came later
			}
		}
	})
	o := shard.DefaultOptions()
	o.Node = name
	if s.host, err = shard.Open(s.store, transport.NewMemory().Endpoint(name), leads, o); err != nil {
		return s, err
	}
	for range shards + 1 {
		<-ready
	}
	kinds, err := s.kinds(p)
	if err != nil {
		return s, err
	}
	if s.here, err = openSystem(name, leads, p, kinds); err != nil {
		return s, err
	}
	elsewhere := directory.New("there", shards)
	elsewhere.SetAddress(name, s.here.Addr())
	for n := range keys.Shard(shards + 1) {
		elsewhere.Announce(n, name, leads.Get(n).Epoch)
	}
	s.there, err = openSystem("there", elsewhere, p, nil)
	leads.SetAddress("there", s.there.Addr())
	return s, err
}

func openSystem(name string, leads *directory.Table, p passivation, kinds []system.Kind) (*system.System, error) {
	o := system.DefaultOptions()
	o.NodeName, o.ListenAddr, o.Directory, o.Kinds, o.PassivateTick = name, "127.0.0.1:0", leads, kinds, p.tick
	o.Logger, o.Metrics = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	o.Querier = func(_ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) { respond(&nodev1.GrainReply{}) }
	return system.Open(o)
}

// kinds are conversations, as a node has them, and the bare grain.
func (s *stage) kinds(p passivation) ([]system.Kind, error) {
	m, err := grain.NewMetrics(nil)
	if err != nil {
		return nil, err
	}
	o := grain.DefaultOptions()
	o.Shards = shards
	setting := &grain.Setting{Host: s.host, Listener: unheard{}, Now: func() int64 { return time.Now().UnixMilli() }, Options: o, Metrics: m}
	return []system.Kind{
		{Kind: nodev1.Kind_KIND_CONVERSATION, Name: "conversation", PassivateAfter: p.after,
			Activate: func(i system.Identity, post func(any)) system.Activation {
				e := grain.Entity{Shard: i.Shard, Kind: i.Kind, Application: i.Application, ID: i.ID}
				return grain.Activate(e, i.Epoch, conversation.New, setting, post)
			}},
		{Kind: bareKind, Name: "bare", PassivateAfter: p.after,
			Activate: func(system.Identity, func(any)) system.Activation { return bare{} }},
	}, nil
}

// close ends what was opened.
func (s *stage) close() error {
	var errs []error
	for _, node := range []*system.System{s.there, s.here} {
		if node != nil {
			errs = append(errs, node.Close())
		}
	}
	if s.host != nil {
		errs = append(errs, s.host.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// unheard is the Listener of a stage without edges and outbox.
type unheard struct{}

// Broadcast implements grain.Listener.
func (unheard) Broadcast(keys.Shard, []*nodev1.Fanout) {}

// Posted implements grain.Listener.
func (unheard) Posted(keys.Shard, []grain.Row) {}

// Missed implements grain.Listener.
func (unheard) Missed(keys.Shard) {}

// bare is the activation that answers at once.
type bare struct{}

// Receive implements system.Activation.
func (bare) Receive(_ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	respond(&nodev1.GrainReply{})
}

// Wake implements system.Activation.
func (bare) Wake(any) {}

// Idle implements system.Activation.
func (bare) Idle() bool { return true }

// Abandon implements system.Activation.
func (bare) Abandon() {}

// Stop implements system.Activation.
func (bare) Stop() {}
