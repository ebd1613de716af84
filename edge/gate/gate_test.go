package gate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"parley/proto/code"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newGate(t *testing.T, o Options) *Gate {
	t.Helper()
	g, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// TestEnter: one is inside, the next waits until it leaves.
func TestEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.InsideMin, o.InsideMax, o.TurnMax = 1, 1, time.Hour
		g := newGate(t, o)
		leave, err := g.Enter(t.Context(), Login)
		if err != nil {
			t.Fatal(err)
		}
		in := make(chan error, 1)
		go func() {
			leave, err := g.Enter(t.Context(), Login)
			in <- err
			leave()
		}()
		synctest.Wait()
		select {
		case <-in:
			t.Fatal("two are inside")
		default:
		}
		leave()
		if err := <-in; err != nil {
			t.Error(err)
		}
	})
}

// TestWhoWaitsInVainIsToldWhenToComeBack, each at another time.
func TestWhoWaitsInVainIsToldWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.InsideMin, o.InsideMax, o.TurnMax = 1, 1, time.Hour
		g := newGate(t, o)
		leave, err := g.Enter(t.Context(), Login)
		if err != nil {
			t.Fatal(err)
		}
		told := map[time.Duration]bool{}
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := g.Enter(ctx, Login)
			cancel()
			e, ok := code.Of(err)
			if !ok || e.Code != code.Unavailable || e.RetryAfter < minAfter/2 || e.RetryAfter > 2*minAfter {
				t.Fatalf("%+v", err)
			}
			told[e.RetryAfter] = true
		}
		if len(told) < 5 {
			t.Errorf("ten should come back at %v", told)
		}
		leave()
		again, err := g.Enter(t.Context(), Connect)
		if err != nil {
			t.Fatal(err)
		}
		again()
	})
}

// TestWhoInsistsComesInByItself: it is sent away, as there is no room to wait in, and comes again; when
// its time is over it is told so.
func TestWhoInsistsComesInByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.InsideMin, o.InsideMax, o.TurnMax, o.WaitingMax = 1, 1, time.Hour, 0
		g := newGate(t, o)
		leave, err := g.Enter(t.Context(), Login)
		if err != nil {
			t.Fatal(err)
		}
		hurried, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := g.Insist(hurried, Login); !code.Has(err, code.Unavailable) || hurried.Err() == nil {
			t.Fatalf("%v, %v", err, hurried.Err())
		}
		in := make(chan error, 1)
		go func() {
			leave, err := g.Insist(t.Context(), Login)
			in <- err
			leave()
		}()
		synctest.Wait()
		leave()
		synctest.Wait()
		select {
		case <-in:
			t.Fatal("it has not been sent away")
		default:
		}
		if err := <-in; err != nil {
			t.Error(err)
		}
	})
}

// TestLineIsMeasured: this Go tells how long goroutines wait for a processor.
func TestLineIsMeasured(t *testing.T) {
	var l line
	l.read()
	if len(l.before) == 0 {
		t.Errorf("%s is not there", lineMetric)
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"nobody":       func(o *Options) { o.InsideMin = 0 },
		"most < least": func(o *Options) { o.InsideMax = o.InsideMin - 1 },
		"no delay":     func(o *Options) { o.DelayMax = 0 },
		"never looks":  func(o *Options) { o.LookEvery = 0 },
		"nobody waits": func(o *Options) { o.WaitingMax = -1 },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
