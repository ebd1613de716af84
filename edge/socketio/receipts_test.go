package socketio

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// stage is receipts with a cluster that answers when it is told to.
type stage struct {
	*receipts
	sent    []*receipt
	answers []func(*nodev1.Reply, error)
	told    []string
}

func newStage(t *testing.T, flying, waiting int) *stage {
	t.Helper()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{}
	o := DefaultOptions()
	o.ReceiptsInFlight, o.ReceiptsWaiting = flying, waiting
	s.receipts = newReceipts(&o, &m, func(r *receipt, done func(*nodev1.Reply, error)) {
		s.sent, s.answers = append(s.sent, r), append(s.answers, done)
	})
	return s
}

func (s *stage) receive(who string, sequence uint64) {
	s.post(&receipt{place: "a/CON-1", who: who, sequence: sequence, done: []func(*nodev1.Reply, error){func(_ *nodev1.Reply, err error) {
		s.told = append(s.told, fmt.Sprintf("%s%d:%v", who, sequence, err == nil))
	}}})
}

// answer answers the first that is on its way.
func (s *stage) answer(reply *nodev1.Reply, err error) {
	done := s.answers[0]
	s.answers = s.answers[1:]
	done(reply, err)
}

// trail is what has been sent.
func (s *stage) trail() string {
	var out []string
	for _, r := range s.sent {
		out = append(out, fmt.Sprintf("%s%d", r.who, r.sequence))
	}
	return strings.Join(out, " ")
}

var (
	small = &nodev1.Reply{Event: &nodev1.EventView{}}
	large = &nodev1.Reply{}
)

// TestReceiptsWaitTheirTurn: no more are on their way than may be, the others follow in order, and
// nothing is kept of a conversation that is quiet.
func TestReceiptsWaitTheirTurn(t *testing.T) {
	s := newStage(t, 2, 10)
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

// TestTheFurthestStandsForTheOthers in a large conversation, where it is all that is stored; each is
// answered. One that is less far does not undo it, and another member's is its own.
func TestTheFurthestStandsForTheOthers(t *testing.T) {
	s := newStage(t, 1, 10)
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

// TestTooManyReceiptsAreRefused, and those that failed make room like those that did not.
func TestTooManyReceiptsAreRefused(t *testing.T) {
	s := newStage(t, 1, 1)
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

// TestWhatIsAReceipt: an application's own events never are, whatever their names.
func TestWhatIsAReceipt(t *testing.T) {
	for kind, want := range map[string]bool{
		"text:delivered": true, "image:seen": true, "event:delivered": true, "message:seen": true,
		"text": false, "custom:seen": false, "text:typing:on": false, "custom:x:delivered": false,
	} {
		if got := isReceipt(kind); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
