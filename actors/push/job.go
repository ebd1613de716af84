package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"parley/actors/application"
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// job is one attempt at one row.
type job struct {
	*Sink
	row      *nodev1.OutboxRow
	progress *progress

	credentials map[eventv1.Platform]*eventv1.PushCredential
	story       *story
}

// run tells whom the row is for. An error means that the row comes again, as does what is owed then.
func (j *job) run(ctx context.Context) error {
	ok, err := j.prepare(ctx)
	if err != nil {
		return err
	}
	if !ok {
		j.progress.giveUp()
		return nil
	}
	if err := j.payOwed(ctx); err != nil {
		return err
	}
	if j.story.event.Type == typeInvited {
		return j.tellInvited(ctx)
	}
	return j.walk(ctx)
}

// walk tells the members page by page, and then the pages that were skipped. While as many devices are
// owed as may be, a page of which nobody is reached is skipped for now, with what it would owe, and
// the attempt ends: the provider may be down, and more would only add to what it gets when it is
// back. A page of which somebody is reached shows that it works: then the oldest debts make room,
// and the walk goes on.
func (j *job) walk(ctx context.Context) error {
	for {
		at, more := j.progress.page()
		if !more {
			return nil
		}
		full := j.progress.owes() >= j.options.OwedMax
		before := j.progress.mark()
		next, err := j.tellPage(ctx, at)
		if err != nil {
			return err
		}
		if full && j.progress.nobodySince(before) {
			j.progress.skip(before, at, next)
			return nil
		}
		j.progress.turnPage(next)
		if full {
			j.metrics.givenUp.Add(float64(j.progress.forget(j.options.OwedMax)))
		}
	}
}

// prepare reads what the row is about; ok=false when nobody is to be told.
func (j *job) prepare(ctx context.Context) (ok bool, err error) {
	if j.options.Now().Sub(time.UnixMilli(j.row.CreatedMs)) > j.options.Lasts {
		j.metrics.dropped.WithLabelValues(dropExpired).Inc()
		return false, nil
	}
	if err := j.readCredentials(ctx); err != nil || len(j.credentials) == 0 {
		return false, err
	}
	err = j.read(ctx)
	if errors.Is(err, errGone) || code.Has(err, code.EventNotFound) || code.Has(err, code.ConversationNotFound) ||
		code.Has(err, code.MemberNotFound) {
		j.metrics.dropped.WithLabelValues(dropGone).Inc()
		return false, nil
	}
	return j.story != nil, err
}

// readCredentials reads over which platforms the application tells devices; none for one that is
// gone. A row must not be thrown away because this node, which has just started or lags, has not
// heard of them yet: only a tombstone says so for good, and absence only a fresh view.
func (j *job) readCredentials(ctx context.Context) error {
	deleted, err := j.seeCredentials()
	if err != nil || deleted || len(j.credentials) > 0 || j.options.Fresh == nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, freshWithin)
	old := j.options.Fresh(waiting)
	cancel()
	if deleted, err = j.seeCredentials(); err != nil || deleted || len(j.credentials) > 0 || old == nil {
		return err
	}
	return &outbox.Failure{Err: fmt.Errorf("this node knows of no push credentials, but may lag: %w", old), After: unseenFor, Untried: true}
}

const (
	// freshWithin bounds how long a row waits for this node's view of the meta shard.
	freshWithin = time.Second
	// unseenFor is when a row comes back that could not be judged for want of a fresh view.
	unseenFor = time.Second
)

// seeCredentials takes the credentials of the application as this node sees it now.
func (j *job) seeCredentials() (deleted bool, err error) {
	a, err := j.options.Application(j.row.ApplicationId)
	if err != nil {
		return false, fmt.Errorf("read the application: %w", err)
	}
	j.credentials = make(map[eventv1.Platform]*eventv1.PushCredential)
	if a.GetDeletedMs() != 0 {
		return true, nil
	}
	for platform := range j.options.Senders {
		if c := application.PushCredential(a, platform); c != nil {
			j.credentials[platform] = c
		}
	}
	return false, nil
}

// errGone says that an event has been deleted since.
var errGone = errors.New("the event is no more")

// read fills the story; it stays nil for an event of which devices are not told.
func (j *job) read(ctx context.Context) error {
	reply, err := j.query(ctx, nodev1.Kind_KIND_CONVERSATION, j.row.SourceId, &nodev1.Query{Body: &nodev1.Query_GetEvent{
		GetEvent: &nodev1.GetEvent{Sequence: j.row.GetCommand().GetDeliverEvent().GetSequence()}}})
	if err != nil {
		return err
	}
	e, author := reply.GetEvent().GetEvent(), reply.GetEvent().GetAuthor()
	switch {
	case e.GetDeletedMs() != 0:
		return errGone
	case !told(e):
		return nil
	}
	from := person{e.FromUser, author.GetName()}
	if e.Type == typeInvited {
		var invited bool
		if from, invited, err = j.inviter(ctx, e); err != nil || !invited {
			return err
		}
	}
	room, err := j.query(ctx, nodev1.Kind_KIND_CONVERSATION, j.row.SourceId, &nodev1.Query{Body: &nodev1.Query_GetConversation{
		GetConversation: &nodev1.GetConversation{}}})
	if err != nil {
		return err
	}
	if j.story, err = newStory(j.row.ApplicationId, room.Conversation, e, from); err == nil {
		j.story.expires = time.UnixMilli(j.row.CreatedMs).Add(j.options.Lasts)
	}
	return err
}

// told says whether devices are told of an event. A message of the newer clients is told when it is
// what the older ones have types of their own for.
func told(e *eventv1.Event) bool {
	switch e.GetType() {
	case typeText, typeImage, typeInvited:
		return true
	case typeMessage:
		var body struct {
			Kind string `json:"message_type"`
		}
		return json.Unmarshal(e.Body, &body) == nil && (body.Kind == typeText || body.Kind == typeImage)
	}
	return false
}

// inviter gives who invited the member of an invitation; invited=false when it has been answered.
func (j *job) inviter(ctx context.Context, e *eventv1.Event) (by person, invited bool, err error) {
	reply, err := j.query(ctx, nodev1.Kind_KIND_CONVERSATION, j.row.SourceId, &nodev1.Query{Body: &nodev1.Query_GetMember{
		GetMember: &nodev1.GetMember{MemberId: e.FromMember}}})
	if err != nil {
		return person{}, false, err
	}
	m := reply.GetMember()
	return person{m.GetInitiatorInvited().GetUserId(), m.GetInvitedBy()},
		m.GetState() == eventv1.MemberState_MEMBER_STATE_INVITED, nil
}

// tellInvited tells the invited user alone.
func (j *job) tellInvited(ctx context.Context) error {
	if j.progress.walked {
		return nil
	}
	var invited struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(j.story.body["user"], &invited) // a name that cannot be read is left out
	if err := j.tellAway(ctx, []person{{j.story.event.FromUser, invited.Name}}); err != nil {
		return err
	}
	j.progress.walked = true
	return nil
}

// tellPage tells the members from a position on: those who were in when the event was stored, but not
// its author. It gives the position of the next page, empty after the last.
func (j *job) tellPage(ctx context.Context, at []byte) (next []byte, err error) {
	reply, err := j.query(ctx, nodev1.Kind_KIND_CONVERSATION, j.row.SourceId, &nodev1.Query{Body: &nodev1.Query_ListMembers{
		ListMembers: &nodev1.ListMembers{Page: &nodev1.Page{Size: j.options.PageSize, After: at}, ExcludeLeft: true}}})
	if err != nil {
		return nil, err
	}
	var people []person
	for _, m := range reply.Members {
		joined := m.State == eventv1.MemberState_MEMBER_STATE_JOINED && m.JoinedSequence <= j.story.event.Sequence
		if id := m.GetUser().GetUserId(); joined && id != j.story.event.FromUser {
			people = append(people, person{id, m.User.Name})
		}
	}
	return reply.Next, j.tellAway(ctx, people)
}

// principal is the node itself within the row's application.
func (j *job) principal() *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: j.row.ApplicationId, Admin: true}
}

func (j *job) query(ctx context.Context, kind nodev1.Kind, id string, q *nodev1.Query) (*nodev1.Reply, error) {
	q.Principal = j.principal()
	return j.ask(ctx, &nodev1.GrainRequest{Kind: kind, ApplicationId: j.row.ApplicationId, Id: id, Query: q})
}

func (j *job) ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.Reply, error) {
	reply, err := j.options.Caller.Ask(ctx, req)
	switch {
	case err != nil:
		return nil, err
	case reply.Error != nil:
		return nil, grain.CodedError(reply.Error)
	case reply.NotLeader || reply.Reply == nil:
		return nil, code.New(code.Unavailable, "nobody answers for this shard at the moment")
	}
	return reply.Reply, nil
}
