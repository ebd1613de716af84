package runtime

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/cluster/recovery"
	"parley/cluster/transport"
	"parley/cluster/version"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
)

func emptyPublic(t *testing.T) *public {
	t.Helper()
	o := store.DefaultOptions()
	o.FS = vfs.NewMem()
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := openPublic(st)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWhatWasGivenUpStaysOut, from the end of the recovery on as well: the members' rows may be read late.
func TestWhatWasGivenUpStaysOut(t *testing.T) {
	spoken := version.Spoken()
	r := &Runtime{public: emptyPublic(t), gate: version.NewGate(spoken, version.Features()),
		marker: &recovery.Marker{Dead: []recovery.DeadStore{{Node: "b", UUID: "lost"}}}}
	for store, want := range map[string]error{"lost": transport.ErrRemoved, "another": nil} {
		for _, recovering := range []bool{true, false} {
			r.recovering.Store(recovering)
			if err := r.admit(transport.Identity{Store: store, Versions: spoken}); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s, recovering %v: %v", store, recovering, err)
			}
		}
	}
}

// TestAnEarlierVersionIsNews: after an unsafe recovery the meta shard is behind what was copied from it.
func TestAnEarlierVersionIsNews(t *testing.T) {
	p := emptyPublic(t)
	p.copy.Store(&eventv1.PublicCopy{Version: 9})
	for at, news := range map[uint64]bool{5: true, 9: false, 12: true} {
		p.news(at)
		select {
		case <-p.stale:
			if !news {
				t.Errorf("version %d is pulled again", at)
			}
		default:
			if news {
				t.Errorf("version %d is not pulled", at)
			}
		}
	}
}
