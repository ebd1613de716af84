package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/application"
	"parley/actors/conversation/row"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

func operator() *nodev1.Principal { return &nodev1.Principal{Admin: true} }

func applicationOf(app string) target {
	return target{nodev1.Kind_KIND_APPLICATION, app, app}
}

// PutApplication implements Applications. An empty id of a new application is made here.
func (s *Service) PutApplication(ctx context.Context, app *eventv1.Application, create bool) (*eventv1.Application, error) {
	if app.Id == "" && create {
		app = proto.CloneOf(app)
		app.Id = id.New(id.Application)
	}
	reply, err := s.command(ctx, applicationOf(app.Id), &nodev1.Command{Principal: operator(), Body: &nodev1.Command_PutApplication{
		PutApplication: &nodev1.PutApplication{Application: app, Create: create},
	}})
	if err == nil || code.Has(err, code.IdempotencyConflict) { // who was refused reads it again
		s.refresh(ctx)
	}
	return reply.GetApplication(), err
}

// DeleteApplication implements Applications.
func (s *Service) DeleteApplication(ctx context.Context, app string) error {
	_, err := s.command(ctx, applicationOf(app), &nodev1.Command{Principal: operator(), Body: &nodev1.Command_DeleteApplication{
		DeleteApplication: &nodev1.DeleteApplication{},
	}})
	if err == nil {
		s.refresh(ctx)
	}
	return err
}

// ListApplications implements Applications.
func (s *Service) ListApplications(ctx context.Context, page *nodev1.Page) (*nodev1.Reply, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return gather(page, BytesMax, func(page *nodev1.Page) (*nodev1.Reply, error) {
		return s.query(ctx, applicationOf(application.OperatorID), &nodev1.Query{Principal: operator(), Body: &nodev1.Query_ListApplications{
			ListApplications: &nodev1.ListApplications{Page: page},
		}})
	})
}

// freshWithin bounds how long a caller waits for this node's view of the meta shard. What is there
// is then answered as it is; what is not there may exist.
const freshWithin = time.Second

// refresh waits until this node sees what was committed in the meta shard, so that who was just
// told of an application finds it here. It says whether that was so within freshWithin.
func (s *Service) refresh(ctx context.Context) bool {
	if s.options.Fresh == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, freshWithin)
	defer cancel()
	if err := s.options.Fresh(ctx); err != nil {
		s.options.Logger.Debug("the applications here may be old", "error", err)
		return false
	}
	return true
}

// errOld refuses to say that something does not exist while this node cannot know: a node that has
// just started after a power cut sees the meta shard as of long ago until it has a leader.
func errOld() error {
	return &code.Error{Code: code.Unavailable, Message: "This node cannot look that up at the moment.", RetryAfter: freshWithin}
}

// Application implements Applications. The result is shared: read only. One that is not here may
// have been created through another node a moment ago, so absence is told only after a refresh.
func (s *Service) Application(ctx context.Context, app string) (*eventv1.Application, error) {
	found, err := s.options.Applications.Get(app)
	if err == nil && found == nil {
		fresh := s.refresh(ctx)
		if found, err = s.options.Applications.Get(app); err == nil && found == nil && !fresh {
			return nil, errOld()
		}
	}
	if err != nil {
		s.options.Logger.Error("an application could not be read", "application", app, "error", err)
		return nil, code.New(code.Internal, "internal error")
	}
	if found == nil || found.DeletedMs != 0 {
		return nil, errApplication()
	}
	return found, nil
}

// refuseDeleted refuses what is asked within an application that is seen to be deleted: whoever still asks
// has begun before. What makes or deletes an application finds it by itself.
func (s *Service) refuseDeleted(req *nodev1.GrainRequest) error {
	if req.Kind == nodev1.Kind_KIND_APPLICATION {
		return nil
	}
	found, err := s.options.Applications.Get(req.ApplicationId)
	if err == nil && found.GetDeletedMs() != 0 {
		return errApplication()
	}
	return nil // one that cannot be read, or is not here yet, is its grain's to judge
}

func errApplication() error { return code.New(code.ApplicationNotFound, "Application does not exist.") }

// Credential implements Applications.
func (s *Service) Credential(ctx context.Context, key string) (*eventv1.Credential, error) {
	c, err := s.credential(key)
	if err == nil && c == nil {
		fresh := s.refresh(ctx)
		if c, err = s.credential(key); err == nil && c == nil && !fresh {
			return nil, errOld()
		}
	}
	if err != nil {
		s.options.Logger.Error("a credential could not be read", "error", err)
		return nil, code.New(code.Internal, "internal error")
	}
	if c == nil {
		return nil, code.New(code.InvalidCredentials, "The API key is not known.")
	}
	return c, nil
}

// credential reads an API key, nil when there is none.
func (s *Service) credential(key string) (*eventv1.Credential, error) {
	return row.Find[eventv1.Credential](s.options.Meta, keys.Credential(key))
}

// PutCredential implements Applications.
func (s *Service) PutCredential(ctx context.Context, c *eventv1.Credential, onlyIfNone bool) (*eventv1.Credential, error) {
	reply, err := s.command(ctx, applicationOf(application.OperatorID), &nodev1.Command{Principal: operator(), Body: &nodev1.Command_PutCredential{
		PutCredential: &nodev1.PutCredential{Credential: c, OnlyIfNone: onlyIfNone},
	}})
	if err != nil {
		return nil, err
	}
	s.refresh(ctx)
	return reply.Credential, nil
}

// ListDeadLetters lists what a kind of sink of p's application did not take in time, oldest first.
// Only an administrator may.
func (s *Service) ListDeadLetters(ctx context.Context, p *nodev1.Principal, kind nodev1.Kind, page *nodev1.Page) (*nodev1.Reply, error) {
	return s.listEverywhere(ctx, page, func(page *nodev1.Page) *nodev1.Query {
		return &nodev1.Query{Principal: p, Body: &nodev1.Query_ListDeadLetters{
			ListDeadLetters: &nodev1.ListDeadLetters{Page: page, Kind: kind}}}
	})
}
