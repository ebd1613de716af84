package grain

import (
	"testing"

	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// asks gives the shell a command that writes nothing, and later its reply.
func (w *world) asks(kind, client string) func() *nodev1.GrainReply {
	var reply *nodev1.GrainReply
	w.step(Arrived{
		Command: &nodev1.Command{ClientId: client, Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: kind}}},
		Respond: func(r *nodev1.GrainReply) { reply = r },
	})
	return func() *nodev1.GrainReply { return reply }
}

// TestNothingIsDecidedOnTwoMoments: a write of an activation that was given up lands after the next one has read
// the head. What that one reads later is newer than its head, so it is asked again, and then knows all.
func TestNothingIsDecidedOnTwoMoments(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "a")
	w.giveUp(options())
	w.send("bad", "") // brings the view
	w.confirm(w.epoch, nil)
	w.land()
	if first := w.asks("text", "a")(); !first.GetNotLeader() || w.proposal != nil {
		t.Fatalf("decided on rows of two moments: %v, %v", first, w.proposal)
	}
	if again := w.asks("text", "a")(); again.GetReply().GetEvent().GetEvent().GetSequence() != 1 || !again.Reply.Duplicate {
		t.Errorf("asked again: %v", again)
	}
}

// TestABatchOnAnOldViewIsAskedAgain: when the orphan lands while a batch is decided, all of the batch is turned
// away, and what comes after is decided on what the orphan has left.
func TestABatchOnAnOldViewIsAskedAgain(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "a")
	w.giveUp(options())
	w.send("text", "b")
	early, late := w.asks("text", "c"), w.asks("text", "d") // wait
	w.shelf.reading = func(key []byte) {
		if string(key) == "c/d" && len(w.orphans) > 0 {
			w.land()
		}
	}
	w.fail(shard.ErrOverloaded)
	if w.proposal != nil || !early().GetNotLeader() || !late().GetNotLeader() {
		t.Fatalf("proposed %v, told %v and %v", w.proposal, early(), late())
	}
	if w.send("text", "c"); w.proposal == nil || w.proposal.Base != 1 {
		t.Fatalf("%v is proposed", w.proposal)
	}
	if w.commit(); w.committed["c"] != 2 {
		t.Errorf("committed %v", w.committed)
	}
}

// TestAProofIsOfNow: a reply that waits for its proof is of a state that is over when an orphan lands meanwhile.
func TestAProofIsOfNow(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "a")
	w.giveUp(options())
	waits, next := w.asks("soft", "b"), w.asks("bad", "c")
	w.land()
	w.confirm(w.epoch, nil)
	if !waits().GetNotLeader() || !next().GetNotLeader() {
		t.Fatalf("told %v and %v", waits(), next())
	}
	if again := w.asks("soft", "b"); again() != nil {
		t.Fatalf("told %v without a proof", again())
	} else if w.confirm(w.epoch, nil); again().GetReply() == nil {
		t.Errorf("asked again: %v", again())
	}
}

// TestAProofBesideAFlight: the shell's own write, which is applied and not told of yet, turns nobody away.
func TestAProofBesideAFlight(t *testing.T) {
	w := newWorld(t, options())
	waits := w.asks("soft", "a")
	w.send("text", "b")
	w.apply(w.proposal)
	w.confirm(w.epoch, nil)
	if waits() != nil {
		t.Fatalf("told %v although somebody may have changed the entity", waits())
	}
	w.proposal = nil
	if w.step(Committed{}); waits().GetReply() == nil {
		t.Errorf("told %v", waits())
	}
}

// TestAnotherViewAnotherProof: a reply that waits for its proof is of the view that it was decided on. When the shell
// has another one by then, the proof is not about it.
func TestAnotherViewAnotherProof(t *testing.T) {
	w := newWorld(t, options())
	w.send("text", "a")
	w.giveUp(options())
	waits := w.asks("soft", "b")
	w.send("text", "c")
	w.land()
	w.fail(shard.ErrOverloaded) // the view goes with the batch
	w.send("text", "c")
	w.confirm(w.epoch, nil)
	if !waits().GetNotLeader() || w.proposal == nil || w.proposal.Base != 1 {
		t.Errorf("told %v, proposed %v", waits(), w.proposal)
	}
}
