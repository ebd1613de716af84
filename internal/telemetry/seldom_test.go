package telemetry

import (
	"fmt"
	"testing"
	"time"
)

func TestSeldom(t *testing.T) {
	s, start := NewSeldom(time.Minute), time.Unix(1000, 0)
	for i, step := range []struct {
		second  int
		subject string
		held    int
		say     bool
	}{
		{0, "a", 0, true}, {1, "a", 0, false}, {2, "b", 0, true}, {59, "a", 0, false},
		{60, "a", 2, true}, {61, "a", 0, false}, {62, "b", 0, true}, {500, "a", 1, true}, {560, "a", 0, true},
	} {
		held, say := s.Says(step.subject, start.Add(time.Duration(step.second)*time.Second))
		if held != step.held || say != step.say {
			t.Errorf("step %d: %d, %v", i, held, say)
		}
	}
}

// TestSeldomIsBounded: many subjects at once take a bounded room and one more line.
func TestSeldomIsBounded(t *testing.T) {
	s, start := NewSeldom(time.Minute), time.Unix(1000, 0)
	said := 0
	for i := range 10 * subjectsMax {
		if _, say := s.Says(fmt.Sprint("subject ", i), start); say {
			said++
		}
	}
	if said != subjectsMax+1 || len(s.subjects) != said {
		t.Errorf("%d lines, %d subjects", said, len(s.subjects))
	}
	if _, say := s.Says("later", start.Add(2*time.Minute)); !say || len(s.subjects) != 1 {
		t.Errorf("%d subjects are kept", len(s.subjects))
	}
}
