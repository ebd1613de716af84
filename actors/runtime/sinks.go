package runtime

import (
	"context"
	"time"

	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/actors/webhook"
	"parley/internal/guard"
	"parley/persistence/keys"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// redeliverWithin bounds one step of bringing dead letters back.
const redeliverWithin = 5 * time.Second

// sinksOf says which sinks an application has now, as far as this node knows: a change is seen here
// as soon as this node follows the meta shard that far. What cannot be read wants nothing; whoever
// reads the application next tells why.
func (r *Runtime) sinksOf(application string) uint32 {
	a, err := r.tenants.Get(application)
	if err != nil || a == nil || a.DeletedMs != 0 {
		return 0
	}
	sinks := nodev1.Sink_SINK_NONE
	if a.EventUrl.GetAddress() != "" {
		sinks |= nodev1.Sink_SINK_WEBHOOK
	}
	if len(a.PushCredentials) > 0 && len(r.options.Push.Senders) > 0 {
		sinks |= nodev1.Sink_SINK_PUSH
	}
	return uint32(sinks)
}

// openSinks makes what takes rows out of the cluster.
func (r *Runtime) openSinks() (map[nodev1.Kind]outbox.Sink, error) {
	sinks := make(map[nodev1.Kind]outbox.Sink)
	push, err := r.openPush()
	if push != nil {
		sinks[nodev1.Kind_KIND_PUSH] = push
	}
	if err != nil {
		return sinks, err
	}
	sinks[nodev1.Kind_KIND_WEBHOOK], err = r.openWebhooks()
	return sinks, err
}

// openWebhooks makes the sink that calls the users' URLs.
func (r *Runtime) openWebhooks() (*webhook.Sink, error) {
	o := r.options.Webhook
	o.Reader, o.Applications, o.Fresh, o.Shards = r.host.Reader(), r.tenants, r.fresh, r.shards
	o.Logger, o.Metrics = r.options.Logger, r.options.Metrics
	if o.Guard == nil {
		g, err := guard.New(guard.DefaultOptions())
		if err != nil {
			return nil, err
		}
		o.Guard = g
	}
	s, err := webhook.New(o)
	if err != nil {
		return nil, err
	}
	r.opened(s.Close) // after the outbox
	return s, nil
}

// DeadLetters lists what a kind of sink of an application did not take in time, oldest first. A page
// goes on after Reply.Next.
func (r *Runtime) DeadLetters(ctx context.Context, app string, kind nodev1.Kind, page *nodev1.Page) (*nodev1.Reply, error) {
	return r.api.ListDeadLetters(ctx, &nodev1.Principal{ApplicationId: app, Admin: true}, kind, page)
}

// Redeliver brings back dead letters of an application, or drops them if discard is set: the one at
// a position, as listed, or all that are there; what dies meanwhile stays. It says how many. What was
// moved before an error stays moved; the same call goes on.
func (r *Runtime) Redeliver(ctx context.Context, app string, d *nodev1.Redeliver) (moved uint64, err error) {
	for s := keys.Meta + 1; s <= keys.Shard(r.shards); s++ {
		one := &nodev1.Redeliver{Shard: uint32(s), Position: d.Position, Discard: d.Discard, Kind: d.Kind}
		reply, err := r.request(ctx, r.directory.Get(s).Node, &nodev1.GrainRequest{
			ApplicationId: app, Command: &nodev1.Command{Body: &nodev1.Command_Redeliver{Redeliver: one}},
		})
		if err != nil {
			return moved, err
		}
		moved += reply.GetCount()
	}
	return moved, nil
}

// redeliver is one step of Redeliver, on the leader of the shard.
func (r *Runtime) redeliver(ctx context.Context, app string, d *nodev1.Redeliver) (*nodev1.Reply, error) {
	id, err := id.Parse(id.Application, app)
	if err != nil || !grain.IsSink(d.Kind) || d.Shard > r.shards {
		return nil, code.New(code.ApplicationNotFound, "Application does not exist.")
	}
	ctx, cancel := context.WithTimeout(ctx, redeliverWithin)
	defer cancel()
	moved, err := r.outbox.Redeliver(ctx, keys.Shard(d.Shard), d.Kind, outbox.Redeliver{Application: id, Position: d.Position, Discard: d.Discard})
	if err != nil {
		return nil, code.New(code.Unavailable, "dead letters could not be moved: %v; try again", err)
	}
	return &nodev1.Reply{Count: uint64(moved)}, nil
}
