package push_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/outbox"
	"parley/actors/push"
	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// One device that is never reached holds its row up for a while, not for as long as the event lasts.
func TestADeviceThatIsNotReachedIsGivenUp(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s := newScene(t, func(o *push.Options) { o.OwedLasts, o.Metrics = time.Hour, metrics })
	s.user("ann")
	s.user("bob", "away", "well")
	s.join("ann", "bob")
	s.fail = func(token string, _ int) error {
		if token == "away" {
			return delivery.Fail(delivery.Retry, "no answer")
		}
		return nil
	}
	r := s.rowOf(s.post("ann", "text", `{"text":"x"}`))
	for attempt := range 3 {
		if err := s.deliverRow(t.Context(), r, attempt+1); err == nil {
			t.Fatalf("attempt %d: done", attempt+1)
		}
		s.now = s.now.Add(20 * time.Minute)
	}
	if err := s.deliverRow(t.Context(), r, 4); err != nil {
		t.Fatalf("an hour later: %v", err)
	}
	s.wantTold("well")
	if got := counted(t, metrics, "parley_push_devices_given_up_total"); got != 1 || s.attempts["away"] != 3 {
		t.Errorf("%v devices given up after %d attempts", got, s.attempts["away"])
	}
}

// However many devices are not reached, the walk goes on to the others at once, as long as any are: the oldest
// debts make room. While nobody is reached it waits, and nobody is given up.
func TestTheWalkGoesOnBehindManyDebts(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s := newScene(t, func(o *push.Options) { o.PageSize, o.OwedMax, o.Metrics = 5, 10, metrics })
	s.user("ann")
	s.join("ann")
	const members = 60
	for i := range members {
		name := fmt.Sprintf("user-%02d", i)
		s.user(name, name)
		s.join(name)
	}
	down := true
	s.fail = func(token string, _ int) error {
		if down || token[len(token)-1] < '8' { // of each page but one or two are never reached
			return delivery.Fail(delivery.Retry, "no answer")
		}
		return nil
	}
	r := s.rowOf(s.post("ann", "text", `{"text":"x"}`))
	for attempt := range 5 {
		if err := s.deliverRow(t.Context(), r, attempt+1); err == nil {
			t.Fatal("done while nobody is reached")
		}
	}
	if got := counted(t, metrics, "parley_push_devices_given_up_total"); got != 0 || len(s.attempts) >= members {
		t.Fatalf("with the provider down %v devices were given up, %d were tried", got, len(s.attempts))
	}
	down = false
	told := func() (n int) {
		for i := range members {
			n += len(s.told[fmt.Sprintf("user-%02d", i)])
		}
		return n
	}
	const reachable, pages = members / 5, members / 5
	for attempt := 6; told() < reachable; attempt++ {
		if err := s.deliverRow(t.Context(), r, attempt); err == nil || attempt > 6+pages {
			t.Fatalf("attempt %d: %v with %d told of %d", attempt, err, told(), reachable)
		}
	}
	if got, want := counted(t, metrics, "parley_push_devices_given_up_total"), float64(members-reachable-10); got == 0 || got > want {
		t.Errorf("%v devices were given up, want at most %v", got, want)
	}
	for token, n := range s.told {
		if len(n) > 1 {
			t.Errorf("%s was told %d times", token, len(n))
		}
	}
	s.fail = nil // all are reached now, and nobody else is told again
	if err := s.deliverRow(t.Context(), r, 100); err != nil {
		t.Error(err)
	}
	if got, lost := told(), int(counted(t, metrics, "parley_push_devices_given_up_total")); got != members-lost {
		t.Errorf("%d were told and %d given up, of %d", got, lost, members)
	}
}

func counted(t *testing.T, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.Counter.GetValue()
			}
		}
	}
	return sum
}

// What is owed is looked at anew: who has come meanwhile is not told, nor a device that is no more,
// and one with another token is told there.
func TestADebtIsForWhatIsThereNow(t *testing.T) {
	s := newScene(t, nil)
	for _, name := range []string{"ann", "bob", "carol", "dave"} {
		s.user(name)
	}
	s.register("bob", &eventv1.Device{Id: "bob-1", Platform: android, Token: "bob-old"})
	s.register("carol", &eventv1.Device{Id: "carol-1", Platform: android, Token: "carol-1"})
	s.register("dave", &eventv1.Device{Id: "dave-1", Platform: android, Token: "dave-1"})
	s.join("ann", "bob", "carol", "dave")
	s.fail = func(string, int) error { return delivery.Fail(delivery.Retry, "down") }
	text := s.post("ann", "text", `{"text":"x"}`)
	if err := s.deliver(text, 1); err == nil {
		t.Fatal("done without anybody told")
	}
	s.fail = nil
	s.live[userID("carol")] = true
	s.register("bob", &eventv1.Device{Id: "bob-1", Platform: android, Token: "bob-new"})
	s.register("bob", &eventv1.Device{Id: "bob-2", Platform: android, Token: "bob-2"}) // it came after the event
	s.must(nodev1.Kind_KIND_USER, userID("dave"), admin, &nodev1.Command{Body: &nodev1.Command_DeleteDevice{DeleteDevice: &nodev1.DeleteDevice{Id: "dave-1"}}})
	if err := s.deliver(text, 2); err != nil {
		t.Fatal(err)
	}
	s.wantTold("bob-new")
}

// Debts whose time has not come stand beside those that fail again at the same moment.
func TestDebtsOfDifferentTimes(t *testing.T) {
	s := newScene(t, nil)
	s.user("ann")
	s.join("ann")
	for i := range 16 {
		name := fmt.Sprintf("user-%02d", i)
		s.user(name, name)
		s.join(name)
	}
	s.fail = func(token string, _ int) error {
		f := delivery.Fail(delivery.Retry, "busy")
		if token[len(token)-1]%2 == 0 {
			f.RetryAfter = time.Minute
		}
		return f
	}
	text := s.post("ann", "text", `{"text":"x"}`)
	for attempt := range 3 {
		if err := s.deliver(text, attempt+1); err == nil {
			t.Fatal("done without anybody told")
		}
	}
	for token, n := range s.attempts {
		if want := 3 - 2*(1-int(token[len(token)-1]%2)); n != want {
			t.Errorf("%s was tried %d times, want %d", token, n, want)
		}
	}
}

// A node that lags throws nothing away: absence counts after a fresh look only, a tombstone at once.
func TestWhatIsNotSeenYetIsNotThrownAway(t *testing.T) {
	var s *scene
	var fresh func() error
	seen := false
	s = newScene(t, func(o *push.Options) {
		o.Application = func(id string) (*eventv1.Application, error) {
			if !seen {
				return nil, nil
			}
			return s.application(id)
		}
		o.Fresh = func(context.Context) error { return fresh() }
	})
	s.user("ann")
	s.user("bob", "bob-1")
	s.join("ann", "bob")
	text := s.post("ann", "text", `{"text":"x"}`)
	fresh = func() error { return errors.New("no leader") }
	var f *outbox.Failure
	if err := s.deliver(text, 1); !errors.As(err, &f) || !f.Untried || f.After != time.Second {
		t.Fatalf("a row was judged by an old view: %v", err)
	}
	fresh = func() error { seen = true; return nil }
	if err := s.deliver(text, 2); err != nil {
		t.Fatal(err)
	}
	s.wantTold("bob-1")
	s.must(nodev1.Kind_KIND_APPLICATION, app, operator, &nodev1.Command{Body: &nodev1.Command_DeleteApplication{DeleteApplication: &nodev1.DeleteApplication{}}})
	fresh = func() error { return errors.New("asked although there is a tombstone") }
	if err := s.deliver(text, 3); err != nil {
		t.Fatal(err)
	}
	s.wantTold()
}

// One application's rows leave places to those of others.
func TestAnApplicationHasItsShareOfPlaces(t *testing.T) {
	s := newScene(t, func(o *push.Options) { o.JobsMax = 8 })
	s.user("ann")
	s.user("bob", "bob-1")
	s.join("ann", "bob")
	arrived, gate := make(chan struct{}, 3), make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	defer release() // also when the test ends early: the sink waits for its rows
	s.fail = func(string, int) error {
		arrived <- struct{}{}
		<-gate
		return nil
	}
	done := make(chan error, 2)
	for range 2 {
		r := s.rowOf(s.post("ann", "text", `{"text":"x"}`))
		s.sink.Deliver(t.Context(), outbox.Delivery{Row: r, Attempt: 1}, func(err error) { done <- err })
		<-arrived
	}
	var f *outbox.Failure
	if err := s.deliver(s.post("ann", "text", `{"text":"x"}`), 1); !errors.As(err, &f) || !f.Untried {
		t.Errorf("a third row of eight places: %v", err)
	}
	foreign := s.rowOf(1)
	foreign.ApplicationId = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a12"
	if err := s.deliverRow(t.Context(), foreign, 1); err != nil {
		t.Errorf("another application's row: %v", err)
	}
	release()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// An attempt that took all its time and told somebody is no failure: the row goes on at once, where it stood. It does not
// count, so the next one has its number.
func TestALongRowGoesOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocks := map[string]bool{userID("user-1"): true}
		s := newScene(t, func(o *push.Options) {
			o.PageSize, o.JobTimeout = 1, 10*time.Second
			o.Live = func(ctx context.Context, _ string, users []string) []string {
				if slices.ContainsFunc(users, func(u string) bool { return blocks[u] }) {
					<-ctx.Done()
				}
				return nil
			}
		})
		s.user("ann")
		s.join("ann")
		for i := range 3 {
			name := fmt.Sprintf("user-%d", i)
			s.user(name, name)
			s.join(name)
		}
		text := s.post("ann", "text", `{"text":"x"}`)
		var f *outbox.Failure
		if err := s.deliver(text, 1); !errors.As(err, &f) || !f.Untried || f.After <= 0 {
			t.Errorf("an attempt that got somewhere: %v", err)
		}
		if err := s.deliver(text, 1); !errors.As(err, &f) || f.Untried {
			t.Errorf("an attempt that got nowhere: %v", err)
		}
		clear(blocks)
		if err := s.deliver(text, 2); err != nil {
			t.Error(err)
		}
		s.wantTold("user-0", "user-1", "user-2")
	})
}
