package api

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Operators is the id of the entity that owns the API keys and the cluster's settings. It is of
// the application kind, so it lives in the meta shard.
const Operators = "00000000-0000-0000-0000-000000000000"

// applicationsMax bounds the parsed applications that a node keeps.
const applicationsMax = 4096

// applications is a node's copy of the applications: parsed once per revision, and checked
// against the applied head row at each use, which is one read in memory.
type applications struct {
	meta store.Reader

	mu    sync.Mutex // guards known
	known map[string]parsed
}

type parsed struct {
	revision    uint64
	application *eventv1.Application
}

func newApplications(meta store.Reader) *applications {
	return &applications{meta: meta, known: make(map[string]parsed)}
}

// get gives an application, nil when there is none.
func (c *applications) get(app string) (*eventv1.Application, error) {
	head, err := grain.HeadKey(grain.Entity{Shard: keys.Meta, Kind: nodev1.Kind_KIND_APPLICATION, Application: app, ID: app})
	if err != nil {
		return nil, nil // not an application's id
	}
	row, ok, err := c.meta.Get(head)
	if err != nil || !ok || len(row) < 8 {
		return nil, err
	}
	revision := binary.BigEndian.Uint64(row)
	c.mu.Lock()
	p, ok := c.known[app]
	c.mu.Unlock()
	if ok && p.revision == revision {
		return p.application, nil
	}
	return c.read(app, revision)
}

// read parses the row. It may be newer than the head that was read before it, never older: then
// the next use parses it once more.
func (c *applications) read(app string, revision uint64) (*eventv1.Application, error) {
	entity, err := id.Parse(id.Application, app)
	if err != nil {
		return nil, nil
	}
	row, ok, err := c.meta.Get(keys.Application(entity))
	if err != nil || !ok {
		return nil, err
	}
	a := &eventv1.Application{}
	if err := a.UnmarshalVT(row); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= applicationsMax {
		clear(c.known) // rare, and each costs one read to know again
	}
	c.known[app] = parsed{revision, a}
	return a, nil
}

func operator() *nodev1.Principal { return &nodev1.Principal{Admin: true} }

func application(app string) target {
	return target{nodev1.Kind_KIND_APPLICATION, app, app}
}

// PutApplication implements Applications. An empty id of a new application is made here.
func (a *API) PutApplication(ctx context.Context, app *eventv1.Application, create bool) (*eventv1.Application, error) {
	if app.Id == "" && create {
		app = proto.CloneOf(app)
		app.Id = id.New(id.Application)
	}
	reply, err := a.command(ctx, application(app.Id), &nodev1.Command{Principal: operator(), Body: &nodev1.Command_PutApplication{
		PutApplication: &nodev1.PutApplication{Application: app, Create: create},
	}})
	if err != nil {
		return nil, err
	}
	a.refresh(ctx)
	return reply.Application, nil
}

// DeleteApplication implements Applications.
func (a *API) DeleteApplication(ctx context.Context, app string) error {
	_, err := a.command(ctx, application(app), &nodev1.Command{Principal: operator(), Body: &nodev1.Command_DeleteApplication{
		DeleteApplication: &nodev1.DeleteApplication{},
	}})
	if err == nil {
		a.refresh(ctx)
	}
	return err
}

// ListApplications implements Applications.
func (a *API) ListApplications(ctx context.Context, page *nodev1.Page) (*nodev1.Reply, error) {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	return gather(page, BytesMax, func(page *nodev1.Page) (*nodev1.Reply, error) {
		return a.query(ctx, application(Operators), &nodev1.Query{Principal: operator(), Body: &nodev1.Query_ListApplications{
			ListApplications: &nodev1.ListApplications{Page: page},
		}})
	})
}

// freshWithin bounds how long a caller waits for this node's view of the meta shard: what cannot
// be had by then is answered from what there is.
const freshWithin = time.Second

// refresh waits until this node sees what was committed in the meta shard, so that who was just
// told of an application finds it here.
func (a *API) refresh(ctx context.Context) {
	if a.options.Fresh == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freshWithin)
	defer cancel()
	if err := a.options.Fresh(ctx); err != nil {
		a.options.Logger.Debug("the applications here may be old", "error", err)
	}
}

// Application implements Applications. The result is shared: read only. One that is not here may
// have been created through another node a moment ago, so absence is told only after a refresh.
func (a *API) Application(ctx context.Context, app string) (*eventv1.Application, error) {
	found, err := a.applications.get(app)
	if err == nil && found == nil {
		a.refresh(ctx)
		found, err = a.applications.get(app)
	}
	if err != nil {
		a.options.Logger.Error("an application could not be read", "application", app, "error", err)
		return nil, code.New(code.Internal, "internal error")
	}
	if found == nil || found.DeletedMs != 0 {
		return nil, code.New(code.ApplicationNotFound, "Application does not exist.")
	}
	return found, nil
}

// Credential implements Applications.
func (a *API) Credential(ctx context.Context, key string) (*eventv1.Credential, error) {
	c, err := a.credential(key)
	if err == nil && c == nil {
		a.refresh(ctx)
		c, err = a.credential(key)
	}
	if err != nil {
		a.options.Logger.Error("a credential could not be read", "error", err)
		return nil, code.New(code.Internal, "internal error")
	}
	if c == nil {
		return nil, code.New(code.InvalidCredentials, "The API key is not known.")
	}
	return c, nil
}

// credential reads an API key, nil when there is none.
func (a *API) credential(key string) (*eventv1.Credential, error) {
	row, ok, err := a.options.Meta.Get(keys.Credential(key))
	if err != nil || !ok {
		return nil, err
	}
	c := &eventv1.Credential{}
	return c, c.UnmarshalVT(row)
}

// PutCredential implements Applications.
func (a *API) PutCredential(ctx context.Context, c *eventv1.Credential, onlyIfNone bool) (*eventv1.Credential, error) {
	reply, err := a.command(ctx, application(Operators), &nodev1.Command{Principal: operator(), Body: &nodev1.Command_PutCredential{
		PutCredential: &nodev1.PutCredential{Credential: c, OnlyIfNone: onlyIfNone},
	}})
	if err != nil {
		return nil, err
	}
	a.refresh(ctx)
	return reply.Credential, nil
}
