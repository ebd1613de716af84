package grain

import (
	"encoding/binary"
	"runtime"
	"testing"
	"weak"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// slowHost commits when the test says so, or at once.
type slowHost struct {
	shelf *shelf
	done  []func(error)
	fast  bool
}

func (h *slowHost) Propose(p shard.Proposal) {
	done := func(err error) {
		if err == nil {
			h.shelf.rows[string(p.Write.Entity)] = append(binary.BigEndian.AppendUint64(nil, p.Write.Base+1), p.Write.Head...)
		}
		p.Done(err)
	}
	if h.fast {
		done(nil)
		return
	}
	h.done = append(h.done, done)
}
func (h *slowHost) ReadIndex(_ keys.Shard, done func(shard.Epoch, error)) { done(1, nil) }
func (h *slowHost) Reader() store.Reader                                  { return h.shelf }

// heard counts what a Listener was told.
type heard struct{ posted, missed int }

func (h *heard) Broadcast(keys.Shard, []*nodev1.Fanout) {}
func (h *heard) Posted(_ keys.Shard, rows []Row)        { h.posted += len(rows) }
func (h *heard) Missed(keys.Shard)                      { h.missed++ }

// activated is an activation over host. posted is what came back to it.
func activated(t *testing.T, host *slowHost) (a *Activation, listener *heard, posted *[]any) {
	t.Helper()
	m, err := NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	listener, posted = &heard{}, new([]any)
	return Activate(Entity{Shard: 1, Kind: nodev1.Kind_KIND_CONVERSATION, Application: appID, ID: conID}, 1, newLedger,
		&Setting{Host: host, Listener: listener, Now: func() int64 { return 1000 }, Options: options(), Metrics: m},
		func(msg any) { *posted = append(*posted, msg) }), listener, posted
}

func says(a *Activation, clientID string) {
	c := &nodev1.Command{ClientId: clientID, Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text"}}}
	a.Receive(&nodev1.GrainRequest{Command: c}, func(*nodev1.GrainReply) {})
}

// TestWhatABrokenActivationCommits: when an activation breaks with a write in flight, or with one
// that was committed and not told of yet, somebody has to look up what the write left. One that
// breaks after it, or whose write fails, left nothing.
func TestWhatABrokenActivationCommits(t *testing.T) {
	for name, tc := range map[string]struct {
		story  func(a *Activation, commit func(error), wake func())
		missed int
	}{
		"in flight":            {func(a *Activation, commit func(error), _ func()) { a.Abandon(); commit(nil) }, 1},
		"committed, not told":  {func(a *Activation, commit func(error), _ func()) { commit(nil); a.Abandon() }, 1},
		"stopped in flight":    {func(a *Activation, commit func(error), _ func()) { a.Stop(); commit(nil) }, 1},
		"told":                 {func(a *Activation, commit func(error), wake func()) { commit(nil); wake(); a.Abandon() }, 0},
		"failed":               {func(a *Activation, commit func(error), _ func()) { a.Abandon(); commit(shard.ErrStale) }, 0},
		"stopped when all was": {func(a *Activation, commit func(error), wake func()) { commit(nil); wake(); a.Stop() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			host := &slowHost{shelf: newShelf()}
			a, listener, posted := activated(t, host)
			says(a, "c1")
			if len(host.done) != 1 {
				t.Fatalf("%d proposals", len(host.done))
			}
			tc.story(a, host.done[0], func() { a.Wake((*posted)[0]) })
			if listener.missed != tc.missed {
				t.Errorf("told of %d losses, want %d", listener.missed, tc.missed)
			}
		})
	}
}

// TestANextWriteThatCommitsAtOnce: before the step that proposes it, because the one before was committed, is
// over. An activation that breaks then has not told of it; one that heard of it has.
func TestANextWriteThatCommitsAtOnce(t *testing.T) {
	for want, hears := range []int{2, 1} {
		host := &slowHost{shelf: newShelf()}
		a, listener, posted := activated(t, host)
		says(a, "c1")
		says(a, "c2") // waits
		host.fast = true
		host.done[0](nil)
		for i := range hears {
			a.Wake((*posted)[i])
		}
		a.Abandon()
		if listener.missed != want {
			t.Errorf("heard of %d of two writes: told of %d losses, want %d", hears, listener.missed, want)
		}
	}
}

// TestAnIdleActivationKeepsNoCommand: there may be a hundred thousand of them, so what was said last
// must not stay in memory until somebody says something else.
func TestAnIdleActivationKeepsNoCommand(t *testing.T) {
	host, answers := &slowHost{shelf: newShelf()}, 0
	a, _, posted := activated(t, host)
	said := func() weak.Pointer[nodev1.GrainRequest] {
		r := &nodev1.GrainRequest{Command: &nodev1.Command{ClientId: "c1", Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text"}}}}
		a.Receive(r, func(*nodev1.GrainReply) { answers += len(r.Command.ClientId) })
		return weak.Make(r)
	}()
	host.done[0](nil)
	host.done = nil
	a.Wake((*posted)[0])
	*posted = nil
	if answers == 0 || !a.Idle() {
		t.Fatalf("%d answers, idle %v", answers, a.Idle())
	}
	runtime.GC()
	if said.Value() != nil {
		t.Error("an idle activation holds on to the last command")
	}
	runtime.KeepAlive(a)
}
