package hub

import (
	"fmt"
	"testing"
	"time"

	"parley/proto/code"
	"parley/proto/id"
)

// holder is a connection that has a session.
type holder struct{ replaced bool }

func (h *holder) Replaced() { h.replaced = true }

func TestRegistry(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	g := newRegistry(time.Minute, 2)
	ann := Session{Application: "app", User: "USR-a", UserName: "ann"}
	var phone, laptop, other holder

	first, resumed, err := g.open(ann, &phone, at)
	if err != nil || resumed || first.ID == "" {
		t.Fatal(first, resumed, err)
	}
	// Another user, or another application, cannot take it.
	for _, thief := range []Session{{ID: first.ID, Application: "app", User: "USR-b"}, {ID: first.ID, Application: "app2", User: "USR-a"}} {
		s, resumed, err := g.open(thief, &other, at)
		if err != nil || resumed || s.ID == first.ID {
			t.Fatalf("%v took the session: %v %v", thief, s, err)
		}
	}
	// The same user can, while the phone still has it or after.
	again := ann
	again.ID = first.ID
	s, resumed, err := g.open(again, &laptop, at)
	if err != nil || !resumed || s.ID != first.ID || !phone.replaced {
		t.Fatal(s, resumed, err, phone.replaced)
	}
	g.close(first.ID, &phone, true, at) // late news of the replaced connection changes nothing
	if g.byID[first.ID].conn != &laptop {
		t.Fatal("the replaced connection closed its successor's session")
	}
	g.close(first.ID, &laptop, false, at)
	g.sweep(at.Add(59 * time.Second))
	if _, resumed, _ := g.open(again, &laptop, at); !resumed {
		t.Fatal("forgotten too early")
	}
	g.close(first.ID, &laptop, false, at)
	g.sweep(at.Add(time.Minute))
	if _, resumed, _ := g.open(again, &laptop, at); resumed {
		t.Fatal("remembered too long")
	}
}

// TestASessionGoesOnFromElsewhere: the id of another edge's session stays, with the time at which
// it began; what is known here as another user's, or cannot be an edge's, does not.
func TestASessionGoesOnFromElsewhere(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	g := newRegistry(time.Minute, 10)
	began := at.Add(-time.Hour)
	ann := Session{ID: id.NewAt(id.Session, began), Application: "app", User: "USR-a", Elsewhere: true}
	conn := &holder{}
	s, resumed, err := g.open(ann, conn, at)
	if err != nil || resumed || s.ID != ann.ID || !s.CreatedAt.Equal(began) {
		t.Fatal(s, resumed, err)
	}
	if _, resumed, _ = g.open(ann, &holder{}, at); !resumed {
		t.Error("it is not resumed as one of this edge")
	}
	gone, _, _ := g.open(Session{Application: "app", User: "USR-a"}, conn, at)
	g.close(gone.ID, conn, true, at)
	for why, wanted := range map[string]Session{
		"closed for good": {ID: gone.ID, User: "USR-a", Elsewhere: true},
		"another user's":  {ID: ann.ID, User: "USR-b", Elsewhere: true},
		"not asked for":   {ID: id.NewAt(id.Session, began), User: "USR-a"},
		"of the future":   {ID: id.NewAt(id.Session, at.Add(time.Hour)), User: "USR-a", Elsewhere: true},
		"without a time":  {ID: id.New(id.Session), User: "USR-a", Elsewhere: true},
		"no session's id": {ID: "USR-a", User: "USR-a", Elsewhere: true},
	} {
		wanted.Application = "app"
		if s, resumed, err := g.open(wanted, &holder{}, at); err != nil || resumed || s.ID == wanted.ID || !s.CreatedAt.Equal(at) {
			t.Errorf("%s: %v %v %v", why, s, resumed, err)
		}
	}
}

func TestSessionsOfAUserAreBounded(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	g := newRegistry(time.Minute, 3)
	conns := make([]holder, 5)
	var ids []string
	for i := range 3 {
		s, _, err := g.open(Session{Application: "app", User: "USR-a", Device: fmt.Sprint(i)}, &conns[i], at)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	if _, _, err := g.open(Session{Application: "app", User: "USR-a"}, &conns[3], at); !code.Has(err, code.TooManySessions) {
		t.Fatalf("the fourth: %v", err)
	}
	// A disconnected session gives way.
	g.close(ids[1], &conns[1], false, at)
	if _, _, err := g.open(Session{Application: "app", User: "USR-a"}, &conns[3], at); err != nil {
		t.Fatal(err)
	}
	if g.byID[ids[1]] != nil || len(g.byUser[address{"app", "USR-a"}]) != 3 {
		t.Errorf("after eviction: %v", g.byUser)
	}
}

// TestConnected: only who has a connection now is there, in its own application.
func TestConnected(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	g := newRegistry(time.Minute, 2)
	var phone, laptop holder
	ask := func() string { return fmt.Sprint(g.connected("app", []string{"USR-b", "USR-a", "USR-c"})) }
	first, _, err := g.open(Session{Application: "app", User: "USR-a"}, &phone, at)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := g.open(Session{Application: "app", User: "USR-a"}, &laptop, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.open(Session{Application: "app2", User: "USR-b"}, &laptop, at); err != nil || ask() != "[USR-a]" {
		t.Fatal(ask(), err)
	}
	g.close(first.ID, &phone, false, at)
	if ask() != "[USR-a]" {
		t.Error("away with one connection left")
	}
	g.close(second.ID, &laptop, false, at)
	if ask() != "[]" {
		t.Error("a session without a connection counts")
	}
}
