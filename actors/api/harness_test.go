package api_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"parley/actors/api"
	"parley/actors/conversation/world"
	"parley/actors/outbox"
	"parley/actors/system"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

const (
	app    = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"
	shards = 3
)

var admin = &nodev1.Principal{ApplicationId: app, Admin: true}

// unwatched is an outbox that nobody waits for.
type unwatched struct{}

func (unwatched) Await(keys.Shard, outbox.Link) (*outbox.Waiter, bool) { return nil, false }

// asked is a request that has left an API and waits for the test to carry it.
type asked struct {
	req   *nodev1.GrainRequest
	reply chan answer // capacity 1: carrying never waits
}

type answer struct {
	reply *nodev1.GrainReply
	err   error
}

// carrier is an api.Caller that hands every request to the test.
type carrier chan *asked

// Ask implements api.Caller.
func (c carrier) Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	a := &asked{req, make(chan answer, 1)}
	c <- a
	got := <-a.reply
	return got.reply, got.err
}

// AskAsync implements api.Caller.
func (c carrier) AskAsync(context.Context, *nodev1.GrainRequest, func(*nodev1.GrainReply, error)) {
	panic("not asked here")
}

func options(c api.Caller, rows world.Rows) api.Options {
	o := api.DefaultOptions()
	o.Caller, o.Acks, o.Meta, o.Node, o.Shards, o.Timeout = c, unwatched{}, rows, "n1", shards, time.Hour
	o.Interest = func(context.Context, *nodev1.Interest) (*nodev1.InterestReply, error) { return nil, errors.New("none") }
	return o
}

func newAPI(t testing.TB, c api.Caller, rows world.Rows) *api.Service {
	a, err := api.New(options(c, rows))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// direct is an api.Caller that carries every request at once.
type direct struct {
	carrier
	w *world.World
	// before is called with each request; refuses it when it gives an error.
	before func(req *nodev1.GrainRequest) error
}

// Ask implements api.Caller.
func (d *direct) Ask(_ context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	if d.before != nil {
		if err := d.before(req); err != nil {
			return nil, err
		}
	}
	got := do(d.w, req)
	if size := got.reply.SizeVT(); size > system.MessageSizeMax {
		return nil, code.New(code.Internal, "%d bytes do not fit between two nodes", size)
	}
	return got.reply, got.err
}

func newWorld(t *testing.T) (*world.World, *direct, *api.Service) {
	w := world.New(shards)
	d := &direct{w: w}
	return w, d, newAPI(t, d, w.Rows())
}

// do carries a request to its grain or query.
func do(w *world.World, req *nodev1.GrainRequest) answer {
	if req.Query != nil {
		reply, err := w.Ask(req.Kind, req.ApplicationId, req.Id, req.Query)
		return answer{&nodev1.GrainReply{Reply: reply}, err}
	}
	results, err := w.Do(req.Kind, req.ApplicationId, req.Id, req.Command)
	if err != nil {
		return answer{err: err}
	}
	return answer{&nodev1.GrainReply{Reply: results[0].Reply}, results[0].Err}
}
