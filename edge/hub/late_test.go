package hub

import (
	"context"
	"slices"
	"testing"
	"time"

	nodev1 "parley/proto/node/v1"
)

// lagging holds back one of the questions of an edge, counted from 1, as a slow link does.
type lagging struct {
	*neighbours
	hold          int
	asked, arrive chan struct{}
	questions     int // that were asked; only one is on its way at a time
}

func (l *lagging) Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	if l.questions++; l.questions == l.hold {
		close(l.asked)
		<-l.arrive
	}
	return l.neighbours.Connected(ctx, application, q)
}

// TestALateQuestionEndsNoNewConnection: a client moves to a second edge, and back, before the first edge is
// asked about it, or after that and before it is told to let go of it. The first keeps its new connection, and the
// session is connected there.
func TestALateQuestionEndsNoNewConnection(t *testing.T) {
	for name, late := range map[string]struct {
		question int
		noticed  bool // the second edge knows that its client is gone
	}{"the question, noticed": {1, true}, "the question": {1, false}, "the word to let go": {2, false}} {
		t.Run(name, func(t *testing.T) {
			hubs, others := pair(t, 100)
			first := &holder{}
			s, _, err := hubs[0].OpenSession(t.Context(), ann, first)
			if err != nil {
				t.Fatal(err)
			}
			hubs[0].age()
			link := &lagging{neighbours: others[1], hold: late.question, asked: make(chan struct{}), arrive: make(chan struct{})}
			hubs[1].others = link
			away, back := &holder{}, &holder{}
			if _, _, err := hubs[1].OpenSession(t.Context(), goesOn(s.ID), away); err != nil {
				t.Fatal(err)
			}
			<-link.asked
			if late.noticed {
				hubs[1].CloseSession(s.ID, away, false)
			}
			if _, resumed, err := hubs[0].OpenSession(t.Context(), goesOn(s.ID), back); err != nil || !resumed || !first.replaced {
				t.Fatalf("back at the first edge: %v, %v, its old connection is told: %v", resumed, err, first.replaced)
			}
			close(link.arrive)
			if err := hubs[1].Close(); err != nil { // it waits for what it has asked
				t.Error(err)
			}
			if back.replaced || len(hubs[0].places()) != 1 {
				t.Error("the new connection is told that it is replaced")
			}
		})
	}
}

// TestOrder: of two connections at different edges the earlier one is found, as far as the time that the answer took
// allows, whatever the clocks of the edges show. This edge has its connection since second 10, asks in
// second 12 and hears the answer in second 13.
func TestOrder(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	for age, want := range map[time.Duration]struct{ earlier, unsure bool }{
		3001 * time.Millisecond: {true, false}, // since 10 at the latest
		time.Hour:               {true, false},
		3 * time.Second:         {false, true},
		2 * time.Second:         {false, true},
		1999 * time.Millisecond: {false, false}, // since 10.001 at the earliest
		0:                       {false, false},
	} {
		replies := []*nodev1.Reply{nil, {}, {Moving: &nodev1.MovingSession{Connection: 7, AgeNs: int64(age)}}}
		earlier, unsure := order(replies, at(10), at(12), at(13))
		if slices.Equal(earlier, []uint64{7}) != want.earlier || len(earlier) > 1 || unsure != want.unsure {
			t.Errorf("connected for %s: %v, unsure %v", age, earlier, unsure)
		}
	}
}

// TestAnEdgeThatIsAskedAgain: an answer that does not say which connection is the earlier is asked for once more, and
// no more than that.
func TestAnEdgeThatIsAskedAgain(t *testing.T) {
	hubs, others := pair(t, 100)
	for vague, want := range map[int]struct {
		replaced  bool
		questions int
	}{1: {true, 3}, asksMax: {false, asksMax}} {
		ids, conns := hubs[0].open(t, 1)
		link := &blurred{neighbours: others[1], vague: vague, began: time.Now().Add(time.Minute)} // long after the other
		hubs[1].others = link
		hubs[1].askOthers(t.Context(), goesOn(ids[0]), link.began)
		if conns[0].replaced != want.replaced || link.questions != want.questions {
			t.Errorf("%d vague answers: let go of: %v, after %d questions", vague, conns[0].replaced, link.questions)
		}
	}
}

// blurred gives the first answers as if the other connection had begun together with the asker's.
type blurred struct {
	*neighbours
	vague, questions int
	began            time.Time
}

func (b *blurred) Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	replies := b.neighbours.Connected(ctx, application, q)
	if b.questions++; b.questions <= b.vague {
		replies[0].Moving.AgeNs = int64(time.Since(b.began))
	}
	return replies
}

// TestEachQuestionIsAMessageOfItsOwn: one that was given up may still wait to be written out.
func TestEachQuestionIsAMessageOfItsOwn(t *testing.T) {
	hubs, others := pair(t, 100)
	ids, _ := hubs[0].open(t, 1)
	hubs[0].age()
	link := &keeping{neighbours: others[1]}
	hubs[1].others = link
	hubs[1].askOthers(t.Context(), goesOn(ids[0]), time.Now())
	if len(link.asked) != 2 || link.asked[0] == link.asked[1] || len(link.asked[0].LetGo) > 0 || len(link.asked[1].LetGo) == 0 {
		t.Errorf("asked %v", link.asked)
	}
}

// keeping keeps the questions.
type keeping struct {
	*neighbours
	asked []*nodev1.ListSessions
}

func (k *keeping) Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	k.asked = append(k.asked, q)
	return k.neighbours.Connected(ctx, application, q)
}
