package api_test

import (
	"context"
	"errors"
	"testing"

	"parley/actors/api"
	"parley/actors/conversation/world"
	"parley/cluster/version"
	nodev1 "parley/proto/node/v1"
)

// TestCursorsGoApartWhileANodeIsOlder: the command is not sent before every node knows it, and the
// caller is told how else it goes.
func TestCursorsGoApartWhileANodeIsOlder(t *testing.T) {
	gate := version.NewGate(version.Spoken(), version.Features())
	sent := 0
	o := api.DefaultOptions()
	o.Caller, o.Acks, o.Meta, o.Node, o.Shards, o.Gate = postman{&sent}, unwatched{}, world.New(shards).Rows(), "n1", shards, gate
	o.Interest = func(context.Context, *nodev1.Interest) (*nodev1.InterestReply, error) { return nil, errors.New("none") }
	a, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	con := "CON-00000000-0000-4000-8000-000000000001"
	for _, tc := range []struct {
		at    version.Number
		apart bool
		sent  int
	}{{1, true, 0}, {2, false, 1}} {
		gate.Raise(tc.at)
		told := 0
		a.AdvanceCursors(t.Context(), "app", con, nil, func(r *nodev1.Reply, err error) {
			if told++; err != nil || r.GetCursors().GetApart() != tc.apart {
				t.Errorf("at version %d: %v, %v", tc.at, r, err)
			}
		})
		if told != 1 || sent != tc.sent {
			t.Errorf("at version %d: told %d times, sent %d", tc.at, told, sent)
		}
	}
}

// postman is an api.Caller that carries commands nowhere.
type postman struct{ sent *int }

// Ask implements api.Caller.
func (postman) Ask(context.Context, *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	return nil, errors.New("not asked here")
}

// AskAsync implements api.Caller.
func (p postman) AskAsync(_ context.Context, _ *nodev1.GrainRequest, done func(*nodev1.GrainReply, error)) {
	*p.sent++
	done(&nodev1.GrainReply{Reply: &nodev1.Reply{Cursors: &nodev1.AdvancedCursors{}}}, nil)
}
