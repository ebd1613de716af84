package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/actors/system"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStage: what is measured is a conversation that is judged for real, by callers of both nodes,
// and that is passivated when nobody uses it.
func TestStage(t *testing.T) {
	const conversations = 8
	s, err := openStage(filepath.Join(t.TempDir(), "s"), passivation{after: 50 * time.Millisecond, tick: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	b := &bench{callers: 3}
	if err := b.found(s, conversations); err != nil {
		t.Fatal(err)
	}
	for name, caller := range map[string]*system.Caller{"here": s.here.Caller(), "there": s.there.Caller()} {
		for _, request := range []func(int) *nodev1.GrainRequest{bareCall, typing} {
			for i := range conversations {
				if _, err := caller.Ask(t.Context(), request(i)); err != nil {
					t.Errorf("%s, %d: %v", name, i, err)
				}
			}
		}
	}
	if _, err := s.here.Caller().Ask(t.Context(), typing(conversations)); !code.Has(err, code.ConversationNotFound) {
		t.Errorf("a conversation that nobody made answers %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), passiveWithin)
	defer cancel()
	if err := awaitPassive(ctx, s); err != nil {
		t.Error(err)
	}
}

func TestEachDoesEverythingOnce(t *testing.T) {
	b, done := &bench{callers: 4}, make([]int, 11)
	if err := b.each(len(done), func(i int) error { done[i]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, n := range done {
		if n != 1 {
			t.Errorf("%d was done %d times", i, n)
		}
	}
}
