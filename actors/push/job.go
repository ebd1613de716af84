package push

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/actors/application"
	"parley/actors/grain"
	"parley/actors/push/delivery"
	"parley/actors/user"
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
	j.pay(ctx, j.progress.settle()) // what earlier attempts owe
	if j.story.event.Type == typeInvited {
		return j.tellInvited(ctx)
	}
	for !j.progress.walked && j.progress.owes() < j.options.OwedMax {
		if err := j.tellPage(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepare reads what the row is about; ok=false when nobody is to be told.
func (j *job) prepare(ctx context.Context) (ok bool, err error) {
	if j.options.Now().Sub(time.UnixMilli(j.row.CreatedMs)) > j.options.Lasts {
		j.metrics.dropped.WithLabelValues(dropExpired).Inc()
		return false, nil
	}
	a, err := j.options.Application(j.row.ApplicationId)
	if err != nil {
		return false, fmt.Errorf("read the application: %w", err)
	}
	j.credentials = make(map[eventv1.Platform]*eventv1.PushCredential)
	for platform := range j.options.Senders {
		if c := application.PushCredential(a, platform); c != nil {
			j.credentials[platform] = c
		}
	}
	if len(j.credentials) == 0 {
		return false, nil
	}
	err = j.read(ctx)
	if code.Has(err, code.EventNotFound) || code.Has(err, code.ConversationNotFound) || code.Has(err, code.MemberNotFound) {
		err = nil
	}
	if err == nil && j.story == nil {
		j.metrics.dropped.WithLabelValues(dropGone).Inc()
	}
	return j.story != nil, err
}

// read fills the story; it stays nil for an event that is not told any more.
func (j *job) read(ctx context.Context) error {
	reply, err := j.query(ctx, nodev1.Kind_KIND_CONVERSATION, j.row.SourceId, &nodev1.Query{Body: &nodev1.Query_GetEvent{
		GetEvent: &nodev1.GetEvent{Sequence: j.row.GetCommand().GetDeliverEvent().GetSequence()}}})
	if err != nil {
		return err
	}
	e, author := reply.GetEvent().GetEvent(), reply.GetEvent().GetAuthor()
	if e.GetDeletedMs() != 0 || !told(e) {
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

// tellPage tells the next members: those who were in when the event was stored, but not its author.
func (j *job) tellPage(ctx context.Context) error {
	reply, err := j.query(ctx, nodev1.Kind_KIND_CONVERSATION, j.row.SourceId, &nodev1.Query{Body: &nodev1.Query_ListMembers{
		ListMembers: &nodev1.ListMembers{Page: &nodev1.Page{Size: j.options.PageSize, After: j.progress.at}, ExcludeLeft: true}}})
	if err != nil {
		return err
	}
	var people []person
	for _, m := range reply.Members {
		joined := m.State == eventv1.MemberState_MEMBER_STATE_JOINED && m.JoinedSequence <= j.story.event.Sequence
		if id := m.GetUser().GetUserId(); joined && id != j.story.event.FromUser {
			people = append(people, person{id, m.User.Name})
		}
	}
	if err := j.tellAway(ctx, people); err != nil {
		return err
	}
	j.progress.at, j.progress.walked = reply.Next, len(reply.Next) == 0
	return nil
}

// tellAway tells those who are not connected. An error means that not all were looked at.
func (j *job) tellAway(ctx context.Context, people []person) error {
	if len(people) == 0 {
		return nil
	}
	users := make([]string, len(people))
	for i, p := range people {
		users[i] = p.id
	}
	live := make(map[string]bool)
	for _, u := range j.options.Live(ctx, j.row.ApplicationId, users) {
		live[u] = true
	}
	if err := context.Cause(ctx); err != nil {
		return err // who is connected elsewhere is not known then
	}
	var debts []debt
	for _, p := range people {
		if !live[p.id] {
			debts = append(debts, debt{to: p})
		}
	}
	j.pay(ctx, debts)
	return nil
}

// pay tells everybody that is owed; what fails for now is owed again, also when the time is over.
func (j *job) pay(ctx context.Context, debts []debt) {
	var g errgroup.Group
	g.SetLimit(j.options.JobSendsMax)
	now := j.options.Now()
	for _, d := range debts {
		if d.notBefore.After(now) {
			j.progress.owe(d, j.progress.last)
			continue
		}
		g.Go(func() error { j.tell(ctx, d); return nil })
	}
	_ = g.Wait() // its functions note what they owe
}

// tell brings the story to the devices of one user, or to one of them.
func (j *job) tell(ctx context.Context, d debt) {
	if d.device != nil {
		j.send(ctx, d.to, d.device)
		return
	}
	reply, err := j.query(ctx, nodev1.Kind_KIND_USER, d.to.id, &nodev1.Query{Body: &nodev1.Query_GetDevices{
		GetDevices: &nodev1.GetDevices{Conversation: j.row.SourceId}}})
	if code.Has(err, code.UserNotFound) {
		return
	}
	if err != nil {
		j.progress.owe(d, fmt.Errorf("read the devices of a user: %w", err))
		return
	}
	for _, device := range reply.GetDevices().GetDevices() {
		j.send(ctx, d.to, device)
	}
}

// send brings the story to one device and draws the consequences.
func (j *job) send(ctx context.Context, to person, device *eventv1.Device) {
	credential := j.credentials[device.Platform]
	if credential == nil {
		return
	}
	platform := user.PlatformName(device.Platform)
	n, err := j.story.notification(to, device.Platform)
	if err != nil {
		j.metrics.notifications.WithLabelValues(platform, outcomeUnreadable).Inc()
		j.options.Logger.Warn("a notification could not be rendered", "application", j.row.ApplicationId, "conversation", j.row.SourceId, "error", err)
		return
	}
	failure := j.trySend(ctx, credential, device, n)
	if failure == nil {
		j.metrics.notifications.WithLabelValues(platform, outcomeSent).Inc()
		j.note(ctx, credential, eventv1.PushStatus_PUSH_STATUS_VALID, "")
		return
	}
	j.metrics.notifications.WithLabelValues(platform, failure.Verdict.String()).Inc()
	j.options.Logger.Debug("a notification was not taken", "application", j.row.ApplicationId, "platform", platform, "user", to.id, "error", failure)
	switch failure.Verdict {
	case delivery.Retry:
		j.progress.owe(debt{to, device, j.options.Now().Add(failure.RetryAfter)}, failure)
	case delivery.Dead:
		j.forget(ctx, to, device)
	case delivery.Unauthorized:
		j.note(ctx, credential, eventv1.PushStatus_PUSH_STATUS_INVALID, failure.Reason)
	}
}

func (j *job) trySend(ctx context.Context, c *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) *delivery.Failure {
	select {
	case j.sends <- struct{}{}:
		defer func() { <-j.sends }()
	case <-ctx.Done():
		return delivery.Fail(delivery.Retry, "the time was over before it was sent")
	}
	began := j.options.Now()
	defer func() { j.metrics.seconds.Observe(j.options.Now().Sub(began).Seconds()) }()
	return delivery.Of(j.options.Senders[d.Platform].Send(ctx, c, d, n))
}

// forget removes a device that its provider does not know any more, unless it has been registered
// with another token meanwhile. When that fails the next event finds it again.
func (j *job) forget(ctx context.Context, of person, d *eventv1.Device) {
	_, err := j.ask(ctx, &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_USER, ApplicationId: j.row.ApplicationId, Id: of.id, Command: &nodev1.Command{
		Principal: j.principal(), Body: &nodev1.Command_DeleteDevice{DeleteDevice: &nodev1.DeleteDevice{Id: d.Id, Token: d.Token}}}})
	if err != nil {
		j.options.Logger.Warn("a dead device was not removed", "application", j.row.ApplicationId, "user", of.id, "error", err)
		return
	}
	j.metrics.forgotten.Inc()
}

// note writes what a provider said of a credential, when that is news.
func (j *job) note(ctx context.Context, c *eventv1.PushCredential, status eventv1.PushStatus, reason string) {
	if !j.notes.due(c, status, j.options.Now()) {
		return
	}
	app := j.row.ApplicationId
	_, err := j.ask(ctx, &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_APPLICATION, ApplicationId: app, Id: app, Command: &nodev1.Command{
		Principal: j.principal(), Body: &nodev1.Command_NotePush{NotePush: &nodev1.NotePush{
			Platform: c.Platform, CredentialId: c.Id, Status: status, Reason: reason}}}})
	if err != nil {
		j.options.Logger.Warn("the status of a push credential was not written", "application", app, "error", err)
	}
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
