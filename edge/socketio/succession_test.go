package socketio

import (
	"maps"
	"testing"
	"time"

	"parley/edge/auth"
	"parley/edge/dialect/nexmo"
	"parley/edge/hub"
)

const succeeded = "SES-1"

// connections makes what two connections of one session share.
func connections() *Handler {
	return &Handler{options: DefaultOptions(), kept: newKept(1 << 20)}
}

// login begins a session on a new connection, of which the hub says whether it is resumed.
func (h *Handler) login(t *testing.T, resumed bool) (s *session, outcome string) {
	t.Helper()
	s = newSession(&conn{handler: h}, &auth.Claims{}, nexmo.Dialect{Acks: true})
	outcome, mine := s.own(hub.Session{ID: succeeded, CreatedAt: time.Now()}, succeeded, resumed)
	if !mine {
		t.Fatal("a session is another's that nobody took over")
	}
	return s, outcome
}

// at makes s follow a conversation up to a position.
func (s *session) at(conversation string, position uint64) {
	s.began = true
	s.follows[conversation] = &followed{position: position}
	delete(s.positions, conversation)
}

// TestASuccessorFindsThePositions: whenever another connection takes a session over, also while the
// older one is ending it, or before that has followed what it was told to.
func TestASuccessorFindsThePositions(t *testing.T) {
	for name, leave := range map[string]func(s *session){
		"replaced":            (*session).handOver,
		"ended":               func(s *session) { s.end(false) },
		"ended, and replaced": func(s *session) { s.end(false); s.handOver() },
		"replaced, and ended": func(s *session) { s.handOver(); s.end(false) },
	} {
		h := connections()
		s, _ := h.login(t, false)
		s.at("CON-a", 7)
		s.at("CON-b", 9)
		leave(s)
		between, outcome := h.login(t, true)
		if outcome != "resumed" {
			t.Errorf("%s: it is %s", name, outcome)
		}
		ended := between.since
		leave(between) // it has followed nothing yet
		last, outcome := h.login(t, true)
		if want := map[string]uint64{"CON-a": 7, "CON-b": 9}; outcome != "resumed" || !maps.Equal(last.positions, want) {
			t.Errorf("%s: it is %s, and begins at %v", name, outcome, last.positions)
		}
		if !last.since.Equal(ended) {
			t.Errorf("%s: what happened since %v would be missed", name, ended)
		}
		last.at("CON-a", 8) // and is not joined to the other any more
		leave(last)
		if k, _ := h.kept.Get(succeeded); !maps.Equal(k.positions, map[string]uint64{"CON-a": 8}) {
			t.Errorf("%s: %v is kept in the end", name, k.positions)
		}
	}
}

// TestWhoKnowsTooLittleKeepsNothing: its successor is told too much rather than too little.
func TestWhoKnowsTooLittleKeepsNothing(t *testing.T) {
	for name, leave := range map[string]func(s *session){
		"new":     (*session).handOver,
		"logout":  func(s *session) { s.at("CON-a", 7); s.end(true); s.handOver() },
		"a moved": func(s *session) { s.moved = true; s.end(false) },
	} {
		h := connections()
		s, _ := h.login(t, false)
		leave(s)
		if _, outcome := h.login(t, true); outcome != "moved" {
			t.Errorf("%s: it is %s", name, outcome)
		}
	}
}

// TestATakenSessionIsNotBegun: another connection took it over before its login had noted what it is.
// What is kept belongs to that one.
func TestATakenSessionIsNotBegun(t *testing.T) {
	h := connections()
	first, _ := h.login(t, false)
	first.at("CON-a", 7)
	first.end(false)
	slow := newSession(&conn{handler: h}, &auth.Claims{}, nexmo.Dialect{Acks: true})
	slow.handOver()
	if _, mine := slow.own(hub.Session{ID: succeeded}, succeeded, true); mine {
		t.Error("it goes on as if it had the session")
	}
	if s, outcome := h.login(t, true); outcome != "resumed" || s.positions["CON-a"] != 7 {
		t.Errorf("the other is %s, and begins at %v", outcome, s.positions)
	}
}
