package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/application"
	actor "parley/actors/conversation"
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/cluster/version"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Caller brings a request to its grain, or a query to a node that may answer it. It retries while
// leadership moves, until ctx ends. Its errors are *code.Error.
type Caller interface {
	Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error)
	AskAsync(ctx context.Context, req *nodev1.GrainRequest, done func(*nodev1.GrainReply, error))
}

// Acks tells when an outbox row has reached its target. *outbox.Outbox is one.
type Acks interface {
	Await(keys.Shard, outbox.Link) (*outbox.Waiter, bool)
}

// Options are what a Service needs of its node. Start from DefaultOptions.
type Options struct {
	Caller Caller
	Acks   Acks
	// Meta reads the applied state of the meta shard on this node.
	Meta store.Reader
	// Nearby reads the replicas of this node as far as they are: what it shows may be old, and shards
	// that are elsewhere have nothing in it. It saves a question where the answer is checked anyway;
	// nil = nothing is nearby.
	Nearby store.Reader
	// Applications is the view of Meta that the node's parts share; nil = one of the Service's own.
	Applications *application.View
	// Fresh waits until Meta shows all that was committed before the call; nil = it always does.
	Fresh func(ctx context.Context) error
	// Interest brings a registration to the leader of its shard.
	Interest func(ctx context.Context, i *nodev1.Interest) (*nodev1.InterestReply, error)
	// Gate says what all nodes of the cluster know; nil = all that this one does.
	Gate *version.Gate
	// Node is this node's name, the edge of its registrations, and Incarnation the number of its life, which
	// rises with every start.
	Node        string
	Incarnation uint64
	// Shards is the cluster's number of data shards.
	Shards uint32
	// Timeout is the deadline of calls that bring none.
	Timeout time.Duration
	// IndexWait is how long an answered join waits for the joiner's own index to show it.
	IndexWait time.Duration
	// Parallel bounds the queries that one listing has under way.
	Parallel int
	Logger   *slog.Logger
	Metrics  prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production settings, without the dependencies.
func DefaultOptions() Options {
	return Options{Timeout: 10 * time.Second, IndexWait: time.Second, Parallel: 8, Logger: slog.New(slog.DiscardHandler)}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Caller == nil || o.Acks == nil || o.Meta == nil || o.Interest == nil:
		return errors.New("api options: Caller, Acks, Meta and Interest are needed")
	case o.Node == "" || o.Shards == 0:
		return errors.New("api options: node name and shards are needed")
	case o.Timeout <= 0 || o.IndexWait < 0 || o.Parallel < 1:
		return errors.New("api options: timeouts and parallelism must be positive")
	}
	return nil
}

// Service is the one implementation of Cluster: the cluster as one node asks it. Safe for concurrent use.
type Service struct {
	options Options
	devices deviceMetrics
}

var _ Cluster = (*Service)(nil)

// New makes the Service of a node.
func New(o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Applications == nil {
		o.Applications = application.NewView(o.Meta)
	}
	devices, err := newDeviceMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register api metrics: %w", err)
	}
	return &Service{options: o, devices: devices}, nil
}

// target is the grain that a request is for.
type target struct {
	kind            nodev1.Kind
	application, id string
}

func conversation(p *nodev1.Principal, id string) target {
	return target{nodev1.Kind_KIND_CONVERSATION, p.GetApplicationId(), id}
}

func user(p *nodev1.Principal, id string) target {
	return target{nodev1.Kind_KIND_USER, p.GetApplicationId(), id}
}

// command asks a grain to change something.
func (s *Service) command(ctx context.Context, t target, c *nodev1.Command) (*nodev1.Reply, error) {
	return s.ask(ctx, &nodev1.GrainRequest{Kind: t.kind, ApplicationId: t.application, Id: t.id, Command: c})
}

// query reads.
func (s *Service) query(ctx context.Context, t target, q *nodev1.Query) (*nodev1.Reply, error) {
	return s.ask(ctx, &nodev1.GrainRequest{Kind: t.kind, ApplicationId: t.application, Id: t.id, Query: q})
}

func (s *Service) ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.Reply, error) {
	if err := s.refuseDeleted(req); err != nil {
		return nil, err
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	reply, err := s.options.Caller.Ask(ctx, req)
	return result(req, reply, err)
}

// result turns the outcome of an Ask into what an edge is told.
func result(req *nodev1.GrainRequest, reply *nodev1.GrainReply, err error) (*nodev1.Reply, error) {
	switch {
	case err != nil:
		return nil, coded(req, err)
	case reply.Error != nil:
		return nil, grain.CodedError(reply.Error)
	case reply.NotLeader:
		return nil, code.New(code.Unavailable, "nobody answers for this shard at the moment; try again")
	case reply.Reply == nil:
		return &nodev1.Reply{}, nil
	}
	return reply.Reply, nil
}

// coded makes sure that what leaves has a code: a command whose fate is not known is Unknown.
func coded(req *nodev1.GrainRequest, err error) error {
	if e, ok := code.Of(err); ok {
		return e
	}
	if req.Command != nil {
		return code.New(code.Unknown, "no answer came in time; retry with the same client id")
	}
	return code.New(code.Unavailable, "no answer came in time; try again")
}

// deadline gives calls without a deadline one.
func (s *Service) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.options.Timeout)
}

// node is the principal of the node itself within an application: it reads what a step of a longer
// call needs, after or before the asker's own rights are checked by the grain.
func node(application string) *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: application, Admin: true}
}

// system is node within the asker's application.
func system(p *nodev1.Principal) *nodev1.Principal { return node(p.GetApplicationId()) }

func isConversation(s string) bool { _, err := id.Parse(id.Conversation, s); return err == nil }

func isUser(s string) bool { _, err := id.Parse(id.User, s); return err == nil }

func errConversation() error { return actor.NotFound() }

func errUser() error {
	return code.New(code.UserNotFound, "User does not exist, or you do not have access.")
}
