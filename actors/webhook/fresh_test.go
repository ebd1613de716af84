package webhook

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"parley/actors/application"
	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/internal/guard"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// lagging is a world behind a sink whose view of the meta shard may be old.
type lagging struct {
	t     *testing.T
	now   *world.World
	sink  *Sink
	fresh func() error
}

const tenant = "0de7a7b5-0000-4000-8000-000000000001"

// newLagging makes a sink that sees nothing until see.
func newLagging(t *testing.T) *lagging {
	t.Helper()
	l := &lagging{t: t, now: world.New(2)}
	g, err := guard.New(guard.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.Reader, o.Applications, o.Guard, o.Shards = l.now.Rows(), application.NewView(world.New(2).Rows()), g, 2
	o.Fresh = func(context.Context) error { return l.fresh() }
	if l.sink, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.sink.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// see lets the sink see the world as it is.
func (l *lagging) see() {
	l.t.Helper()
	head, err := grain.HeadKey(grain.Entity{Shard: keys.Meta, Kind: nodev1.Kind_KIND_APPLICATION, Application: tenant, ID: tenant})
	if err != nil {
		l.t.Fatal(err)
	}
	rows := maps.Clone(l.now.Rows())
	rows[string(head)] = make([]byte, 8)
	l.sink.options.Applications = application.NewView(rows)
}

func (l *lagging) do(c *nodev1.Command) {
	l.t.Helper()
	c.Principal = &nodev1.Principal{Admin: true}
	results, err := l.now.Do(nodev1.Kind_KIND_APPLICATION, tenant, tenant, c)
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lagging) put(address string, create bool) {
	l.t.Helper()
	a := &eventv1.Application{Name: "tests"}
	if address != "" {
		a.EventUrl = &eventv1.Webhook{Address: address}
	}
	l.do(&nodev1.Command{Body: &nodev1.Command_PutApplication{PutApplication: &nodev1.PutApplication{Create: create, Application: a}}})
}

var laggingRow = &nodev1.OutboxRow{TargetKind: nodev1.Kind_KIND_WEBHOOK, ApplicationId: tenant, TargetId: "webhook", SourceId: "CON-1"}

// deliver gives the outcome of a row of which nobody is to be told.
func (l *lagging) deliver() error {
	l.t.Helper()
	done := make(chan error, 1)
	l.sink.Deliver(l.t.Context(), outbox.Delivery{Row: laggingRow, Attempt: 1}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		l.t.Fatal("the delivery does not end")
		return nil
	}
}

func (l *lagging) wantPutOff(why string) {
	l.t.Helper()
	var f *outbox.Failure
	if err := l.deliver(); !errors.As(err, &f) || !f.Untried || f.Final || f.After != time.Second {
		l.t.Errorf("%s: %v", why, err)
	}
}

// A node that lags throws no row away: that there is no webhook counts after a fresh look only, a
// tombstone at once.
func TestWhatIsNotSeenYetIsNotThrownAway(t *testing.T) {
	l := newLagging(t)
	l.put("", true)
	old := func() error { return errors.New("no leader") }
	l.fresh = old
	l.wantPutOff("no application here")
	l.see()
	l.wantPutOff("no URL here")

	l.fresh = func() error { l.put("https://hook.example/events", false); l.see(); return nil }
	if h, err := l.sink.findFresh(t.Context(), laggingRow); err != nil || h == nil || h.url.Host != "hook.example" {
		t.Errorf("after a fresh look: %v, %v", h, err)
	}
	l.put("", false)
	l.see()
	l.fresh = func() error { return nil }
	if err := l.deliver(); err != nil {
		t.Errorf("the webhook has been taken away: %v", err)
	}
	l.do(&nodev1.Command{Body: &nodev1.Command_DeleteApplication{DeleteApplication: &nodev1.DeleteApplication{}}})
	l.see()
	l.fresh = old
	if err := l.deliver(); err != nil {
		t.Errorf("the application has been deleted: %v", err)
	}
}
