package push

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"parley/actors/push/delivery"
	"parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// tellAway tells those who are not connected. An error means that not all were looked at.
func (j *job) tellAway(ctx context.Context, people []person) error {
	debts := make([]debt, len(people))
	for i, p := range people {
		debts[i].to = p
	}
	return j.pay(ctx, debts)
}

// payOwed tries again what earlier attempts owe, as far as its time has come, and gives up what has
// failed for too long: a device that nobody reaches must not hold up, with its row, what others are
// to be told. An error means that not all were looked at; they stay owed.
func (j *job) payOwed(ctx context.Context) error {
	now := j.options.Now()
	var due []debt
	for _, d := range j.progress.settle() {
		switch {
		case now.Sub(d.since) >= j.options.OwedLasts:
			j.metrics.givenUp.Inc()
			j.progress.advance()
		case d.notBefore.After(now):
			j.progress.oweStill(d)
		default:
			due = append(due, d)
		}
	}
	for page := range slices.Chunk(due, int(j.options.PageSize)) {
		if err := j.pay(ctx, page); err != nil {
			for _, d := range due {
				j.progress.oweStill(d)
			}
			return err
		}
		due = due[len(page):]
	}
	return nil
}

// pay tells those of a page that are not connected; what fails for now is owed again, also when the
// time is over. An error means that nobody was told, because it is not known who is connected.
func (j *job) pay(ctx context.Context, debts []debt) error {
	if len(debts) == 0 {
		return nil
	}
	users := make([]string, len(debts))
	for i, d := range debts {
		users[i] = d.to.id
	}
	live := make(map[string]bool)
	for _, u := range j.options.Live(ctx, j.row.ApplicationId, users) {
		live[u] = true
	}
	if err := context.Cause(ctx); err != nil {
		return err // who is connected elsewhere is not known then
	}
	var g errgroup.Group
	g.SetLimit(j.options.JobSendsMax)
	for _, d := range debts {
		if !live[d.to.id] {
			g.Go(func() error { j.tell(ctx, d); return nil })
		}
	}
	_ = g.Wait() // its functions note what they owe
	return nil
}

// owe notes what failed for now.
func (j *job) owe(d debt, err error) {
	if d.since.IsZero() {
		d.since = j.options.Now()
	}
	j.progress.owe(d, err)
}

// tell brings the story to the devices of one user, or to one of them, as they are now.
func (j *job) tell(ctx context.Context, d debt) {
	reply, err := j.query(ctx, nodev1.Kind_KIND_USER, d.to.id, &nodev1.Query{Body: &nodev1.Query_GetDevices{
		GetDevices: &nodev1.GetDevices{Conversation: j.row.SourceId}}})
	if code.Has(err, code.UserNotFound) {
		return
	}
	if err != nil {
		j.owe(d, fmt.Errorf("read the devices of a user: %w", err))
		return
	}
	for _, device := range reply.GetDevices().GetDevices() {
		if d.device == "" || d.device == device.Id {
			j.send(ctx, d, device)
		}
	}
}

// send brings the story to one device and draws the consequences.
func (j *job) send(ctx context.Context, d debt, device *eventv1.Device) {
	credential := j.credentials[device.Platform]
	if credential == nil {
		return
	}
	platform := user.PlatformName(device.Platform)
	n, err := j.story.notification(d.to, device.Platform)
	if err != nil {
		j.metrics.notifications.WithLabelValues(platform, outcomeUnreadable).Inc()
		j.options.Logger.Warn("a notification could not be rendered", "application", j.row.ApplicationId, "conversation", j.row.SourceId, "error", err)
		return
	}
	failure := j.trySend(ctx, credential, device, n)
	if failure == nil || failure.Verdict != delivery.Retry {
		j.progress.advance()
	}
	if failure == nil {
		j.metrics.notifications.WithLabelValues(platform, outcomeSent).Inc()
		j.note(ctx, credential, eventv1.PushStatus_PUSH_STATUS_VALID, "")
		return
	}
	j.metrics.notifications.WithLabelValues(platform, failure.Verdict.String()).Inc()
	j.options.Logger.Debug("a notification was not taken", "application", j.row.ApplicationId, "platform", platform, "user", d.to.id, "error", failure)
	switch failure.Verdict {
	case delivery.Retry:
		d.device, d.notBefore = device.Id, j.options.Now().Add(failure.RetryAfter)
		j.owe(d, failure)
	case delivery.Dead:
		j.forget(ctx, d.to, device)
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
	return delivery.FailureOf(j.options.Senders[d.Platform].Send(ctx, c, d, n))
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
