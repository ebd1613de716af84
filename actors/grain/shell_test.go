package grain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"parley/cluster/shard"
	"parley/persistence/store"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

const (
	appID = "0de7a7b5-0000-4000-8000-000000000001"
	conID = "CON-0de7a7b5-0000-4000-8000-000000000002"
)

// world drives one shell after the other over one shelf, and plays the shard: it decides when a
// proposal applies, whether it does, and what the shell is told.
type world struct {
	t     rapid.TB
	shelf *shelf
	shell *Shell
	epoch shard.Epoch

	proposal   *shard.Write
	orphans    []*shard.Write // in flight from shells that were given up, in order
	confirming bool
	halted     bool
	unproven   bool // a ReadIndex has just failed: nothing that waited for it may be told

	asked     int               // commands
	answers   map[int]int       // command -> number of answers
	committed map[string]uint64 // client id -> sequence, by what was applied
	last      uint64            // sequence of the last stored broadcast in this epoch
	posted    map[string]bool
}

func newWorld(t rapid.TB, o Options) *world {
	w := &world{t: t, shelf: newShelf(), answers: map[int]int{}, committed: map[string]uint64{}, posted: map[string]bool{}}
	w.elect(o)
	return w
}

func options() Options {
	o := DefaultOptions()
	o.Shards, o.BatchMax, o.WaitingMax = 4, 3, 8
	return o
}

// elect starts the next epoch's shell. What is still in flight is of an epoch that is over.
func (w *world) elect(o Options) {
	w.epoch++
	w.orphans = nil
	w.activate(o)
}

// giveUp puts a new shell in the place of one that broke, in the same epoch: whoever waited was told so, and
// the write in flight goes on.
func (w *world) giveUp(o Options) {
	for n := range w.asked {
		w.answers[n] = 1
	}
	if w.proposal != nil {
		w.orphans = append(w.orphans, w.proposal)
	}
	w.activate(o)
}

func (w *world) activate(o Options) {
	var err error
	if o.Metrics, err = NewMetrics(nil); err != nil {
		w.t.Fatal(err)
	}
	w.shell, err = NewShell(Entity{Shard: 1, Kind: nodev1.Kind_KIND_CONVERSATION, Application: appID, ID: conID}, w.epoch, newLedger, w.shelf, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.proposal, w.confirming, w.halted, w.last = nil, false, false, 0
}

func (w *world) step(in Input) {
	for _, out := range w.shell.Step(1000, in) {
		switch out := out.(type) {
		case Propose:
			if w.proposal != nil {
				w.t.Fatalf("two proposals in flight")
			}
			write := out.Write
			w.proposal = &write
		case Confirm:
			if w.confirming {
				w.t.Fatalf("two ReadIndexes in flight")
			}
			w.confirming = true
		case Answer:
			out.Respond(out.Reply)
		case Broadcast:
			w.heard(out.Items)
		case Posted:
			w.onPosted(out.Rows)
		case Halt:
			w.halted = true
		}
	}
}

// heard checks invariant I9: what is broadcast has been applied, in order, without a hole.
func (w *world) heard(items []*nodev1.Fanout) {
	for _, item := range items {
		if item.Head > uint64(len(w.committed)) {
			w.t.Fatalf("%d was broadcast, only %d are committed", item.Head, len(w.committed))
		}
		if item.Head < w.last || w.last != 0 && item.Head > w.last+1 {
			w.t.Fatalf("%d was broadcast after %d", item.Head, w.last)
		}
		w.last = item.Head
	}
}

func (w *world) onPosted(rows []Row) {
	for _, r := range rows {
		if w.posted[string(r.Key)] {
			w.t.Fatalf("row %x was posted twice", r.Key)
		}
		w.posted[string(r.Key)] = true
		if _, ok := w.shelf.rows[string(r.Key)]; !ok {
			w.t.Fatalf("row %x was posted but is not stored", r.Key)
		}
	}
}

// send gives the shell a command and checks whatever answer it gets.
func (w *world) send(kind, client string) {
	n := w.asked
	w.asked++
	cmd := &nodev1.Command{ClientId: client, Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: kind}}}
	before, stored := w.committed[client]
	w.step(Arrived{Command: cmd, Respond: func(r *nodev1.GrainReply) {
		w.answers[n]++
		if w.answers[n] > 1 {
			w.t.Fatalf("command %d was answered twice", n)
		}
		w.check(kind, client, r, before, stored)
	}})
}

func (w *world) check(kind, client string, r *nodev1.GrainReply, before uint64, stored bool) {
	sequence, done := w.committed[client]
	if w.unproven && kind != "text" && !r.NotLeader {
		w.t.Fatalf("%s was answered %v without a proof", kind, r)
	}
	switch {
	case stored && r.Error.GetExact() == string(code.NotStored):
		w.t.Fatalf("%s was stored long ago, and is told %v", client, r.Error)
	case r.NotLeader, r.Error != nil && r.Error.Code != string(code.ValidationFail) && r.Error.Code != string(code.Unknown):
		// Surely not done by this command. Another with the same client id may have done it.
	case r.Error != nil && r.Error.Code == string(code.ValidationFail):
		if kind != "bad" {
			w.t.Fatalf("%s was refused: %v", kind, r.Error)
		}
	case r.Error != nil: // unknown: stored or not
		if kind != "text" {
			w.t.Fatalf("%s writes nothing, its outcome is never unknown", kind)
		}
	case kind == "text":
		if got := r.Reply.Event.Event.Sequence; !done || got != sequence {
			w.t.Fatalf("%s was acked as %d, but is committed as %d (%v)", client, got, sequence, done)
		}
		if stored && before != sequence {
			w.t.Fatalf("%s moved from %d to %d", client, before, sequence)
		}
	}
}

// apply makes the effects of a write visible, if the fence lets it.
func (w *world) apply(write *shard.Write) (done bool) {
	key := string(write.Entity)
	revision := uint64(0)
	if row, ok := w.shelf.rows[key]; ok {
		revision = binary.BigEndian.Uint64(row)
	}
	if write.Base != revision {
		return false
	}
	w.shelf.rows[key] = append(binary.BigEndian.AppendUint64(nil, revision+1), write.Head...)
	for _, op := range write.Ops {
		if op.Kind != store.OpPut {
			w.t.Fatalf("unexpected op")
		}
		w.shelf.rows[string(op.Key)] = op.Value
		if string(op.Key[:2]) == "c/" {
			if _, twice := w.committed[string(op.Key[2:])]; twice {
				w.t.Fatalf("%s was stored twice", op.Key)
			}
			w.committed[string(op.Key[2:])] = binary.BigEndian.Uint64(op.Value)
		}
	}
	return true
}

// commit is the end of the proposal: its effects, or the fence's refusal when an orphan was before it.
func (w *world) commit() {
	if !w.apply(w.proposal) {
		w.fail(shard.ErrStale)
		return
	}
	w.proposal = nil
	w.step(Committed{})
}

// land is the end of the eldest orphan, of which no shell hears. Nobody broadcasts what it brought.
func (w *world) land() {
	if w.apply(w.orphans[0]) {
		w.last = 0
	}
	w.orphans = w.orphans[1:]
}

func (w *world) fail(err error) {
	w.proposal = nil
	w.step(Committed{Err: err})
}

func (w *world) confirm(epoch shard.Epoch, err error) {
	w.confirming = false
	w.unproven = err != nil || epoch != w.epoch
	w.step(Confirmed{Epoch: epoch, Err: err})
	w.unproven = false
}

// TestShellAnswersOnce drives shells through every order of commands, outcomes and elections that
// the generator finds, and through the loss of shells: each command is answered exactly once, an ack means committed at that
// sequence, a client id is stored once, fan-out follows commit and has no holes.
func TestShellAnswersOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, options())
		rt.Repeat(map[string]func(*rapid.T){
			"send": func(rt *rapid.T) {
				kind := rapid.SampledFrom([]string{"text", "text", "text", "soft", "bad"}).Draw(rt, "kind")
				client := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "client")
				w.send(kind, client)
			},
			"commit": func(rt *rapid.T) {
				if w.proposal == nil {
					rt.Skip()
				}
				w.commit()
			},
			"fail": func(rt *rapid.T) {
				if w.proposal == nil {
					rt.Skip()
				}
				w.fail(rapid.SampledFrom([]error{shard.ErrStale, shard.ErrNotLeader, shard.ErrOverloaded, shard.ErrTooLarge, shard.ErrNoSpace, shard.ErrClosed}).Draw(rt, "error"))
			},
			"unknown": func(rt *rapid.T) {
				if w.proposal == nil {
					rt.Skip()
				}
				if rapid.Bool().Draw(rt, "applied") {
					w.apply(w.proposal)
				}
				w.fail(fmt.Errorf("the term ended: %w", shard.ErrUnknown))
				if !w.halted {
					rt.Fatal("the shell goes on after an unknown outcome")
				}
			},
			"confirm": func(rt *rapid.T) {
				if !w.confirming {
					rt.Skip()
				}
				epoch := w.epoch + shard.Epoch(rapid.IntRange(0, 1).Draw(rt, "later"))
				w.confirm(epoch, rapid.SampledFrom([]error{nil, nil, shard.ErrNotLeader}).Draw(rt, "error"))
			},
			"give up": func(*rapid.T) { w.giveUp(options()) },
			"land": func(rt *rapid.T) {
				if len(w.orphans) == 0 {
					rt.Skip()
				}
				w.land()
			},
			"elect": func(rt *rapid.T) {
				if w.proposal != nil && rapid.Bool().Draw(rt, "applied") {
					w.apply(w.proposal)
				}
				w.step(Ended{})
				w.elect(options())
			},
			"": func(rt *rapid.T) {
				if w.shell.Idle() && w.waiting() > 0 {
					rt.Fatalf("an idle shell owes %d answers", w.waiting())
				}
			},
		})
		w.step(Ended{})
		if n := w.waiting(); n != 0 {
			rt.Fatalf("%d commands were never answered", n)
		}
	})
}

func (w *world) waiting() int { return w.asked - len(w.answers) }

// TestARepetitionIsNotCalledUndone: a command that was stored, and is repeated in one batch with another's
// write that finds no space, is asked to come again.
func TestARepetitionIsNotCalledUndone(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "stored")
	w.commit()
	w.send("text", "first")
	w.send("text", "second") // opens the next batch, as the first is in flight
	var again *nodev1.GrainReply
	w.step(Arrived{
		Command: &nodev1.Command{ClientId: "stored", Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text"}}},
		Respond: func(r *nodev1.GrainReply) { again = r },
	})
	w.commit()
	w.fail(shard.ErrNoSpace)
	if !again.GetNotLeader() {
		t.Errorf("it is told %v", again)
	}
}

// TestShellBatchesWhatWaits: the first command leaves at once, those that arrive meanwhile leave
// together, and one ReadIndex serves all refusals that wait.
func TestShellBatchesWhatWaits(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "a")
	if w.proposal == nil || len(w.proposal.Ops) != 3 {
		t.Fatalf("the first command was not proposed at once: %+v", w.proposal)
	}
	for _, c := range []string{"b", "c", "d", "e"} {
		w.send("text", c)
	}
	w.commit()
	if got := len(w.proposal.Ops); got != 3*3 {
		t.Fatalf("the second batch has %d ops, want those of 3 commands", got)
	}
	w.commit()
	w.commit()
	w.send("bad", "x")
	w.send("bad", "y")
	w.send("bad", "z")
	w.confirm(w.epoch, nil)
	if w.waiting() != 2 {
		t.Fatalf("%d wait, want the two that came after the ReadIndex began", w.waiting())
	}
	w.confirm(w.epoch, nil)
	if w.waiting() != 0 || !w.shell.Idle() {
		t.Fatalf("%d wait at the end", w.waiting())
	}
}

// TestShellReads says which replies need a ReadIndex, which a commit, and which nothing.
func TestShellReads(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "a")
	w.send("bad", "b")  // decided after "c" below is in the batch: waits for its commit
	w.send("text", "c") //
	w.commit()
	if w.proposal == nil || w.confirming {
		t.Fatal("a refusal beside a write asked for a ReadIndex")
	}
	w.commit()
	if w.waiting() != 0 {
		t.Fatalf("%d wait after the commit", w.waiting())
	}
	w.send("text", "a") // a duplicate: applied state proves it
	if w.waiting() != 0 || w.confirming {
		t.Fatal("a proven duplicate waited")
	}
	w.send("text", "e")
	w.send("text", "f")
	w.send("text", "f") // a duplicate of what is decided, but not yet committed
	w.commit()
	if w.waiting() != 2 {
		t.Fatalf("%d wait, want both: nothing proves the duplicate before the commit", w.waiting())
	}
	w.commit()
	w.send("soft", "")
	if w.waiting() != 1 || !w.confirming {
		t.Fatal("a write-less reply left without a ReadIndex")
	}
}

// TestShellLimits: what does not fit is refused with advice, and the rest is unharmed.
func TestShellLimits(t *testing.T) {
	w := newWorld(t, options())
	for i := range 12 { // one in flight, eight wait
		w.send("text", fmt.Sprint(i))
	}
	if got := w.asked - w.waiting(); got != 3 {
		t.Fatalf("%d were refused, want 3", got)
	}
	for w.proposal != nil {
		w.commit()
	}
	if len(w.committed) != 9 || w.waiting() != 0 {
		t.Fatalf("%d committed, %d wait", len(w.committed), w.waiting())
	}
}

// TestShellUnreadableState: a disk error is told as such, never as "not found", and the shell
// works again when the disk does.
func TestShellUnreadableState(t *testing.T) {
	w := newWorld(t, options())
	w.shelf.fail = errors.New("bad block")
	var got *nodev1.GrainReply
	w.step(Arrived{
		Command: &nodev1.Command{Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text"}}},
		Respond: func(r *nodev1.GrainReply) { got = r },
	})
	if got == nil || got.Error.GetCode() != string(code.Internal) {
		t.Fatalf("got %v", got)
	}
	w.shelf.fail = nil
	w.send("text", "a")
	w.commit()
	if w.waiting() != 0 {
		t.Fatal("the shell did not recover")
	}
}
