package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// nodeReceiver is the name under which nodes speak to each other as nodes: announcements, orders
// and questions that are for no grain.
const nodeReceiver = "node"

// nodeTasksMax bounds the orders and questions of other nodes that are worked on at once.
const nodeTasksMax = 64

// onNode takes what another node says. It does not block: work that waits has a goroutine of its own.
func (r *Runtime) onNode(msg proto.Message, respond func(proto.Message)) {
	req, ok := msg.(*nodev1.GrainRequest)
	if !ok {
		return
	}
	if a := req.GetCommand().GetAnnounce(); a != nil {
		r.heard(a)
		return
	}
	if !r.tasks.TryGo(func() error {
		ctx, cancel := context.WithTimeout(r.ctx, r.options.System.CallTimeout) // by then who asked has gone
		defer cancel()
		reply, err := r.serve(ctx, req)
		respond(answer(reply, err))
		return nil
	}) {
		respond(answer(nil, code.New(code.Unavailable, "too many requests of other nodes are being worked on")))
	}
}

// answer puts an outcome on the wire. An error without a code is of what this node cannot do now, and may
// later.
func answer(reply *nodev1.Reply, err error) *nodev1.GrainReply {
	if err == nil {
		return &nodev1.GrainReply{Reply: reply}
	}
	if _, ok := code.Of(err); !ok {
		err = code.New(code.Unavailable, "%v", err)
	}
	return &nodev1.GrainReply{Error: grain.ErrorOf(err)}
}

// outcome is the inverse of answer.
func outcome(a *nodev1.GrainReply) (*nodev1.Reply, error) {
	return a.GetReply(), grain.CodedError(a.GetError())
}

// serve carries out a request of another node, or of this one.
func (r *Runtime) serve(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.Reply, error) {
	if o := req.GetCommand().GetOrder(); o != nil {
		return &nodev1.Reply{}, r.obey(ctx, o)
	}
	if d := req.GetCommand().GetRedeliver(); d != nil {
		return r.redeliver(ctx, req.ApplicationId, d)
	}
	switch q := req.GetQuery().GetBody().(type) {
	case *nodev1.Query_Observe:
		return r.observe(ctx)
	case *nodev1.Query_GetPublic:
		if err := r.readIndex(ctx, keys.Meta); err != nil {
			return nil, err
		}
		return r.public.page(q.GetPublic.GetAfter())
	case *nodev1.Query_ListSessions:
		if q.ListSessions.GetConnected() {
			return r.localConnected(req.ApplicationId, q.ListSessions), nil
		}
		ids, err := r.localSessions(ctx, req.ApplicationId, q.ListSessions.GetUser())
		return &nodev1.Reply{Sessions: ids}, err
	case *nodev1.Query_RenewSession:
		return &nodev1.Reply{}, r.localRenew(ctx, q.RenewSession)
	case *nodev1.Query_ListLive:
		return &nodev1.Reply{Live: r.localLive(req.ApplicationId, q.ListLive.GetUsers())}, nil
	default:
		return nil, code.New(code.NotAvailable, "this node does not know this request; it may be of an older version")
	}
}

// request asks a node, which may be this one.
func (r *Runtime) request(ctx context.Context, node string, req *nodev1.GrainRequest) (*nodev1.Reply, error) {
	if node == "" {
		return nil, code.New(code.Unavailable, "nobody leads this shard at the moment; try again")
	}
	if node == r.options.NodeName {
		return r.serve(ctx, req)
	}
	msg, err := r.system.Request(ctx, node, nodeReceiver, req)
	if err != nil {
		return nil, err
	}
	reply, ok := msg.(*nodev1.GrainReply)
	if !ok {
		return nil, fmt.Errorf("node %s answered with %T", node, msg)
	}
	return outcome(reply)
}

// obey changes this node's replica of a shard. Each order may come again, and late.
func (r *Runtime) obey(ctx context.Context, o *nodev1.Order) error {
	if o.Kind == nodev1.OrderKind_ORDER_KIND_REBALANCE { // an operator's wish, which is never of the past
		r.driver.Rebalance()
		return nil
	}
	if err := r.current(o.DriverEpoch); err != nil {
		return err
	}
	s, replica := keys.Shard(o.Shard), shard.ReplicaID(o.Replica)
	switch o.Kind {
	case nodev1.OrderKind_ORDER_KIND_MAKE:
		return r.makeReplica(ctx, s, replica)
	case nodev1.OrderKind_ORDER_KIND_CONFIGURE:
		return r.configure(ctx, s, o)
	case nodev1.OrderKind_ORDER_KIND_TRANSFER:
		r.host.Transfer(s, replica)
		return nil
	case nodev1.OrderKind_ORDER_KIND_DESTROY:
		return r.destroyReplica(ctx, s, replica)
	default:
		return code.New(code.NotAvailable, "this node does not know this order; it may be of an older version")
	}
}

func (r *Runtime) makeReplica(ctx context.Context, s keys.Shard, replica shard.ReplicaID) error {
	err := r.host.AddReplica(s, replica)
	if !errors.Is(err, shard.ErrExists) {
		return err
	}
	status, known := r.host.Status(ctx, s)
	switch {
	case known != nil:
		return err
	case status.Replica == replica:
		return nil // made by an earlier order
	case status.Replica < replica && status.Applied == 0:
		// Made for a driver that gave this node up before the shard took it in: nobody knows of it,
		// and it knows of nobody who could tell it.
		ctx, cancel := dropping(ctx)
		defer cancel()
		if err := r.host.RemoveReplica(ctx, s, status.Replica); err != nil {
			return err
		}
		return r.host.AddReplica(s, replica)
	}
	return err
}

func (r *Runtime) configure(ctx context.Context, s keys.Shard, o *nodev1.Order) error {
	list := make([]shard.Change, len(o.Changes))
	for i, c := range o.Changes {
		list[i] = shard.Change{Kind: shard.ChangeKind(c.Kind), Replica: shard.ReplicaID(c.Replica), Node: c.Node}
	}
	done := make(chan error, 1) // one answer, also when nobody waits any more
	r.host.ChangeConf(s, o.Configured, list, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dropWithin is how long who has a replica dropped waits for what is written then. On a full disk that goes on
// until there is space, and a driver, whose round is as long as its longest order, has others to give.
const dropWithin = time.Second

func dropping(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, dropWithin, code.New(code.Unavailable, "the replica is still being dropped"))
}

// destroyReplica drops a replica that its shard's leader no longer has; who hears that it is still being dropped
// asks again. Before its replica of the meta shard goes, a node takes a copy of what it must know on, and shows
// that from then on: the replica hears of nothing new.
func (r *Runtime) destroyReplica(ctx context.Context, s keys.Shard, replica shard.ReplicaID) error {
	if s == keys.Meta {
		if err := r.pull(ctx); err != nil {
			return err
		}
		if status, err := r.host.Status(ctx, s); err == nil && status.Replica == replica {
			r.public.leave()
		}
	}
	ctx, cancel := dropping(ctx)
	defer cancel()
	if s == keys.Meta {
		if err := r.public.durable(ctx); err != nil {
			return err
		}
	}
	err := r.host.RemoveReplica(ctx, s, replica)
	absent := errors.Is(err, shard.ErrNoReplica)
	if absent {
		err = nil // it was dropped before, or never made
	}
	if s == keys.Meta {
		r.public.leaves.Store(!absent) // another one may be here, which stays
		err = errors.Join(err, r.public.look())
	}
	return err
}

func (r *Runtime) readIndex(ctx context.Context, s keys.Shard) error {
	done := make(chan error, 1) // one answer, also when nobody waits any more
	r.host.ReadIndex(s, func(_ shard.Epoch, err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// observe says how this node fares, and the shards that it leads.
func (r *Runtime) observe(ctx context.Context) (*nodev1.Reply, error) {
	reply := &nodev1.Reply{Away: proto.Bool(r.drained.Load())}
	for s := keys.Meta; s <= keys.Shard(r.shards); s++ {
		if !r.directory.Get(s).Serves() {
			continue
		}
		status, err := r.host.Status(ctx, s)
		if err != nil {
			return nil, err
		}
		if status.Role == shard.RoleLeader {
			reply.Observed = append(reply.Observed, r.observed(status))
		}
	}
	return reply, nil
}

func (r *Runtime) observed(status shard.Status) *nodev1.ObservedShard {
	o := &nodev1.ObservedShard{
		Shard: uint32(status.Shard), Epoch: status.Term, Leader: uint64(status.Replica), Joint: status.Joint, Commit: status.Commit,
		Configured: status.Configured,
	}
	for _, m := range status.Replicas {
		follows := m.State == shard.StateReplicate || m.Replica == status.Replica
		o.Replicas = append(o.Replicas, &nodev1.ObservedReplica{
			Id: uint64(m.Replica), Node: m.Node, Voter: m.Voter, Match: m.Match,
			CaughtUp: follows && m.Match+uint64(r.options.Host.CaughtUpEntries) >= status.Commit,
		})
	}
	return o
}
