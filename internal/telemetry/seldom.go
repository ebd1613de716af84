package telemetry

import (
	"sync"
	"time"
)

// subjectsMax bounds the subjects that a Seldom tells apart; what is beyond shares one turn.
const subjectsMax = 1024

// Seldom keeps what somebody else can cause, again and again, from filling the log: about one subject
// one line is written in an interval, and the next one says how many were not. Safe for concurrent use.
type Seldom struct {
	every time.Duration

	mu       sync.Mutex // guards subjects
	subjects map[string]*turn
}

// turn is when a subject was last spoken of, and how often it was not since then.
type turn struct {
	at   time.Time
	held int
}

// NewSeldom makes a Seldom with the given interval.
func NewSeldom(every time.Duration) *Seldom {
	return &Seldom{every: every, subjects: map[string]*turn{}}
}

// Says reports whether something may be said of subject now, and how many times it was held back since
// the last time.
func (s *Seldom) Says(subject string, now time.Time) (held int, say bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.subjects[subject]
	if t == nil && len(s.subjects) >= subjectsMax {
		s.forget(now)
		if len(s.subjects) >= subjectsMax {
			subject = "" // of the rest, all together
			t = s.subjects[subject]
		}
	}
	switch {
	case t == nil:
		s.subjects[subject] = &turn{at: now}
		return 0, true
	case now.Sub(t.at) < s.every:
		t.held++
		return 0, false
	}
	held = t.held
	t.at, t.held = now, 0
	return held, true
}

// forget drops the subjects whose turn has come again without being used. Caller holds mu.
func (s *Seldom) forget(now time.Time) {
	for subject, t := range s.subjects {
		if now.Sub(t.at) >= s.every {
			delete(s.subjects, subject)
		}
	}
}
