package hub

import (
	"context"
	"testing"

	nodev1 "parley/proto/node/v1"
)

// lagging holds the questions of an edge back, as a slow link does.
type lagging struct {
	*neighbours
	asked, arrive, answered chan struct{}
}

func (l *lagging) Connected(ctx context.Context, application string, q *nodev1.ListSessions) []*nodev1.Reply {
	close(l.asked)
	<-l.arrive
	defer close(l.answered)
	return l.neighbours.Connected(ctx, application, q)
}

// TestALateQuestionEndsNoNewConnection: a client moves to a second edge, and back, before the first edge is
// asked to let go of it. The first keeps its new connection, and the session is connected there.
func TestALateQuestionEndsNoNewConnection(t *testing.T) {
	for name, noticed := range map[string]bool{"the second edge knows that it is gone": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			hubs, others := pair(t, 100)
			first := &holder{}
			s, _, err := hubs[0].OpenSession(t.Context(), ann, first)
			if err != nil {
				t.Fatal(err)
			}
			link := &lagging{others[1], make(chan struct{}), make(chan struct{}), make(chan struct{})}
			hubs[1].others = link
			away, back := &holder{}, &holder{}
			if _, _, err := hubs[1].OpenSession(t.Context(), goesOn(s.ID), away); err != nil {
				t.Fatal(err)
			}
			<-link.asked
			if noticed {
				hubs[1].CloseSession(s.ID, away, false)
			}
			if _, resumed, err := hubs[0].OpenSession(t.Context(), goesOn(s.ID), back); err != nil || !resumed || !first.replaced {
				t.Fatalf("back at the first edge: %v, %v, its old connection is told: %v", resumed, err, first.replaced)
			}
			close(link.arrive)
			<-link.answered
			if back.replaced || len(hubs[0].places()) != 1 {
				t.Error("the new connection is told that it is replaced")
			}
		})
	}
}
