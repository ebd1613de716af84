package receipt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/actors/conversation"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// stage is a pacer with a cluster that answers when it is told to.
type stage struct {
	*pacer
	sent    [][]*entry
	answers []func(*nodev1.Reply, error)
	told    []string
}

func newStage(t *testing.T, tune func(o *Options)) *stage {
	t.Helper()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{}
	o := DefaultOptions()
	tune(&o)
	s.pacer = newPacer(&o, m, s)
	return s
}

func (s *stage) one(e *entry, done func(*nodev1.Reply, error)) {
	s.sent, s.answers = append(s.sent, []*entry{e}), append(s.answers, done)
}

func (s *stage) many(es []*entry, done func(*nodev1.Reply, error)) {
	s.sent, s.answers = append(s.sent, es), append(s.answers, done)
}

// receive is a receipt that is no more than a cursor.
func (s *stage) receive(who string, delivered uint64) { s.come(Receipt{Delivered: delivered}, who) }

// read is one of a member that has read too.
func (s *stage) read(who string, delivered, seen uint64) {
	s.come(Receipt{Delivered: delivered, Seen: seen}, who)
}

// odd is a receipt that is more than a cursor.
func (s *stage) odd(who string, delivered uint64) {
	s.come(Receipt{Delivered: delivered, Odd: true}, who)
}

func (s *stage) come(r Receipt, who string) {
	r.Principal, r.Conversation = &nodev1.Principal{ApplicationId: "a", UserId: who}, "CON-1"
	r.Bearer = teller{s, nameOf(&r)}
	s.post(&entry{Receipt: r})
}

// nameOf is whose it is and how far.
func nameOf(r *Receipt) string {
	if r.Seen > 0 {
		return fmt.Sprintf("%s%d/%d", r.Principal.GetUserId(), r.Delivered, r.Seen)
	}
	return fmt.Sprintf("%s%d", r.Principal.GetUserId(), r.Delivered)
}

// teller notes what became of a receipt.
type teller struct {
	stage *stage
	name  string
}

func (l teller) Alone(func(*nodev1.Reply, error)) { panic("the stage carries") }

func (l teller) Done(_ *nodev1.Reply, err error) {
	l.stage.told = append(l.stage.told, fmt.Sprintf("%s:%v", l.name, err == nil))
}

// answer answers the first that is on its way.
func (s *stage) answer(reply *nodev1.Reply, err error) {
	done := s.answers[0]
	s.answers = s.answers[1:]
	done(reply, err)
}

// trail is what has been sent; what left together stands between brackets.
func (s *stage) trail() string {
	var out []string
	for _, f := range s.sent {
		var names []string
		for _, e := range f {
			names = append(names, nameOf(&e.Receipt))
		}
		if len(f) > 1 {
			out = append(out, "["+strings.Join(names, " ")+"]")
		} else {
			out = append(out, names[0])
		}
	}
	return strings.Join(out, " ")
}

var (
	small = &nodev1.Reply{Head: &eventv1.Head{Joined: conversation.ReceiptMembersMax}}
	large = &nodev1.Reply{Head: &eventv1.Head{Joined: conversation.ReceiptMembersMax + 1}}
	apart = &nodev1.Reply{Cursors: &nodev1.AdvancedCursors{Apart: true}}
)

// TestReceiptsWaitTheirTurn: no more are on their way than may be, the others follow in order, and
// nothing is kept of a conversation that is quiet.
func TestReceiptsWaitTheirTurn(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight = 2 })
	for i := range 5 {
		s.receive("ann", uint64(i))
	}
	if got := s.trail(); got != "ann0 ann1" {
		t.Fatalf("sent %s", got)
	}
	for len(s.answers) > 0 {
		s.answer(small, nil)
	}
	if got := s.trail(); got != "ann0 ann1 ann2 ann3 ann4" {
		t.Errorf("sent %s: in a small conversation each receipt is an event", got)
	}
	if len(s.told) != 5 || len(s.lines) != 0 {
		t.Errorf("told %v, kept %v", s.told, s.lines)
	}
}

// TestReceiptsLeaveTogether in a large conversation: those that gathered while others were on their
// way, so many and no more, in the order in which they came.
func TestReceiptsLeaveTogether(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.AtOnce = 2, 3 })
	for _, who := range strings.Fields("ann bob cid dan eve fay gus") {
		s.receive(who, 1)
	}
	s.answer(large, nil)
	if got := s.trail(); got != "ann1 bob1 [cid1 dan1 eve1]" {
		t.Fatalf("sent %s: one command at a time", got)
	}
	for len(s.answers) > 0 {
		s.answer(large, nil)
	}
	if got := s.trail(); got != "ann1 bob1 [cid1 dan1 eve1] [fay1 gus1]" {
		t.Errorf("sent %s", got)
	}
	if len(s.told) != 7 || len(s.lines) != 0 {
		t.Errorf("told %v, kept %v", s.told, s.lines)
	}
}

// TestWhatIsMoreThanACursorTravelsAlone, beside the others.
func TestWhatIsMoreThanACursorTravelsAlone(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight = 1 })
	s.receive("ann", 1)
	s.receive("bob", 1)
	s.receive("cid", 1)
	s.odd("dan", 1)
	s.odd("cid", 2) // does not take the place of the plain one
	s.receive("eve", 1)
	s.receive("fay", 1)
	for len(s.answers) > 0 {
		s.answer(large, nil)
	}
	if got := s.trail(); got != "ann1 [bob1 cid1 eve1 fay1] dan1 cid2" {
		t.Errorf("sent %s", got)
	}
}

// TestWhatTravelsAloneLeavesAtOnce, whatever is on its way for the others, and takes the place of none.
func TestWhatTravelsAloneLeavesAtOnce(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight = 1 })
	s.receive("ann", 1)
	s.receive("bob", 1)
	s.answer(large, nil)
	s.receive("cid", 1)
	s.odd("cid", 2)
	if got := s.trail(); got != "ann1 bob1 cid2" {
		t.Errorf("sent %s", got)
	}
}

// TestWhatTravelsAloneIsNoBarrier: however many of a large conversation's receipts travel alone, they
// and the others go at the pace of either.
func TestWhatTravelsAloneIsNoBarrier(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.AtOnce = 4, 8 })
	s.receive("first", 1)
	come := func(n int) {
		for i := range n {
			s.odd(fmt.Sprintf("odd%d-", i), 1)
			s.receive(fmt.Sprintf("plain%d-", i), 1)
		}
	}
	come(16) // it is not known yet that the conversation is large
	s.answer(large, nil)
	come(16)
	rounds := 0
	for ; len(s.answers) > 0; rounds++ {
		singles, commands := 0, 0
		for _, f := range s.sent[len(s.sent)-len(s.answers):] {
			if !f[0].Odd {
				commands++
			} else {
				singles++
			}
		}
		if singles > 4 || rounds > 0 && commands > 1 { // those that left before the answer travelled alone
			t.Fatalf("%d alone and %d commands at once", singles, commands)
		}
		for n := len(s.answers); n > 0; n-- {
			s.answer(large, nil)
		}
	}
	if rounds > 9 || len(s.told) != 65 || len(s.lines) != 0 {
		t.Errorf("%d rounds, %d told: 32 alone by fours, the others by eights", rounds, len(s.told))
	}
}

// TestWhatWasOvertakenIsSentAfterAll when the one that took its place names no event: it is the member's
// furthest then. What nobody would have stored either is refused with it.
func TestWhatWasOvertakenIsSentAfterAll(t *testing.T) {
	for name, tc := range map[string]struct {
		refusal code.Code
		trail   string
		told    string
	}{
		"no event": {code.EventNotFound, "ann1 bob1 [ann9 cid1] [ann5 dan1]", "ann1 bob1 ann9:false ann9:false cid1 ann5 ann4 dan1"},
		"no right": {code.EventNotJoined, "ann1 bob1 [ann9 cid1] dan1", "ann1 bob1 ann9:false ann9:false ann5:false ann4:false cid1 dan1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, func(o *Options) { o.InFlight = 1 })
			s.receive("ann", 1)
			s.receive("bob", 1)
			s.answer(large, nil)
			for _, sequence := range []uint64{4, 5, 9, 9} {
				s.receive("ann", sequence)
			}
			s.receive("cid", 1)
			s.answer(large, nil)
			s.receive("dan", 1)
			s.answer(&nodev1.Reply{Cursors: &nodev1.AdvancedCursors{Refused: []*nodev1.RefusedCursor{{Error: &nodev1.Error{Code: string(tc.refusal)}}}}}, nil)
			for len(s.answers) > 0 {
				s.answer(large, nil)
			}
			if got := s.trail(); got != tc.trail || len(s.lines) != 0 {
				t.Errorf("sent %s, want %s", got, tc.trail)
			}
			if got := strings.ReplaceAll(strings.Join(s.told, " "), ":true", ""); got != tc.told {
				t.Errorf("told %s, want %s", got, tc.told)
			}
		})
	}
}

// TestEachReceiptHasItsOwnOutcome, whatever became of those that it travelled with; a failure of the
// command is everybody's.
func TestEachReceiptHasItsOwnOutcome(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.AtOnce = 1, 3 })
	for _, who := range strings.Fields("ann bob cid dan eve fay") {
		s.receive(who, 1)
	}
	s.answer(large, nil)
	s.answer(&nodev1.Reply{Cursors: &nodev1.AdvancedCursors{Refused: []*nodev1.RefusedCursor{
		{Index: 1, Error: &nodev1.Error{Code: string(code.EventNotJoined)}}}}}, nil)
	s.answer(nil, code.New(code.Unavailable, "no"))
	if got := strings.Join(s.told, " "); got != "ann1:true bob1:true cid1:false dan1:true eve1:false fay1:false" || len(s.lines) != 0 {
		t.Errorf("told %s", got)
	}
}

// TestReceiptsThatMustNotTravelTogether: the cluster has an old node, or the conversation has become
// small. They go one by one, before those that came later, and are not tried together again.
func TestReceiptsThatMustNotTravelTogether(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.AtOnce = 2, 3 })
	for _, who := range strings.Fields("ann bob cid dan eve fay") {
		s.receive(who, 1)
	}
	s.answer(large, nil)
	s.answer(large, nil)
	if got := s.trail(); got != "ann1 bob1 [cid1 dan1 eve1]" {
		t.Fatalf("sent %s", got)
	}
	s.answer(apart, nil)
	if len(s.told) != 2 {
		t.Fatalf("told %v: nothing was done for the others", s.told)
	}
	for len(s.answers) > 0 {
		s.answer(large, nil)
	}
	if got := s.trail(); got != "ann1 bob1 [cid1 dan1 eve1] cid1 dan1 eve1 fay1" || len(s.told) != 6 || len(s.lines) != 0 {
		t.Errorf("sent %s, told %v", got, s.told)
	}
}

// TestTheFurthestStandsForTheOthers in a large conversation, where it is all that is stored; each is
// answered. One that is less far does not undo it, and another member's is its own.
func TestTheFurthestStandsForTheOthers(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.AtOnce = 1, 1 })
	s.receive("ann", 1)
	s.receive("ann", 2)
	s.answer(large, nil) // now it is known that the conversation is large; ann2 is on its way
	s.receive("ann", 3)
	s.receive("bob", 3)
	s.receive("ann", 5)
	s.receive("ann", 4)
	for len(s.answers) > 0 {
		s.answer(large, nil)
	}
	if got := s.trail(); got != "ann1 ann2 ann5 bob3 ann4" {
		t.Errorf("sent %s", got)
	}
	slices.Sort(s.told)
	if got := strings.Join(s.told, " "); got != "ann1:true ann2:true ann3:true ann4:true ann5:true bob3:true" {
		t.Errorf("told %s", got)
	}
	if n := testutil.ToFloat64(s.metrics.merged); n != 1 {
		t.Errorf("%v merged", n)
	}
}

// TestWhatSaysMoreStandsForWhatSaysLess: a member that has read an event has received it, and not the
// other way round.
func TestWhatSaysMoreStandsForWhatSaysLess(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight = 1 })
	s.receive("eve", 1)
	s.receive("eve", 1)
	s.answer(large, nil)
	s.receive("ann", 2)
	s.read("ann", 2, 2)
	s.read("bob", 2, 2)
	s.receive("bob", 3)
	s.read("bob", 4, 2)
	for len(s.answers) > 0 {
		s.answer(large, nil)
	}
	if got := s.trail(); got != "eve1 eve1 [ann2/2 bob2/2 bob4/2]" {
		t.Errorf("sent %s", got)
	}
	slices.Sort(s.told)
	if got := strings.Join(s.told, " "); got != "ann2/2:true ann2:true bob2/2:true bob3:true bob4/2:true eve1:true eve1:true" {
		t.Errorf("told %s", got)
	}
}

// TestTooManyReceiptsAreRefused, and those that failed make room like those that did not.
func TestTooManyReceiptsAreRefused(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.Waiting = 1, 1 })
	for i := range 3 {
		s.receive("ann", uint64(i))
	}
	if got := strings.Join(s.told, " "); got != "ann2:false" {
		t.Fatalf("told %s", got)
	}
	s.answer(nil, code.New(code.Unavailable, "no"))
	s.answer(small, nil)
	if got := strings.Join(s.told, " "); got != "ann2:false ann0:false ann1:true" || len(s.lines) != 0 {
		t.Errorf("told %s", got)
	}
}

// TestReceiptsThatOthersStandForAreCounted: they wait too, each with somebody who is to be told.
func TestReceiptsThatOthersStandForAreCounted(t *testing.T) {
	s := newStage(t, func(o *Options) { o.InFlight, o.Waiting = 1, 3 })
	s.receive("ann", 1)
	s.odd("bob", 1)
	s.receive("cid", 1)
	s.answer(large, nil) // cid1 and bob1 leave, and nothing waits
	for sequence := range uint64(4) {
		s.receive("ann", 2+sequence)
	}
	s.receive("dan", 1)
	if got := strings.Join(s.told, " "); got != "ann1:true ann5:false dan1:false" {
		t.Fatalf("told %s", got)
	}
	s.answer(&nodev1.Reply{Cursors: &nodev1.AdvancedCursors{}}, nil) // ann2, ann3 and ann4 leave as one
	s.receive("eve", 1)
	s.receive("eve", 2)
	s.receive("eve", 3)
	s.receive("eve", 4)
	if got := s.told[len(s.told)-1]; got != "eve4:false" {
		t.Errorf("told %s", got)
	}
	for len(s.answers) > 0 {
		s.answer(large, nil)
	}
	if got := s.trail(); got != "ann1 cid1 bob1 ann4 eve3" || len(s.told) != 12 || len(s.lines) != 0 {
		t.Errorf("sent %s, told %v", got, s.told)
	}
}
