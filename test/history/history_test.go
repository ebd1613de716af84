package history

import (
	"strings"
	"testing"
)

// sound is a history that keeps every promise; each case breaks it in one way.
func sound() History {
	return History{
		Sends: []Send{
			{Conversation: "c", User: "ann", ClientID: "1", Body: "a", Outcome: Committed, Sequence: 2, Began: 1, Ended: 2},
			{Conversation: "c", User: "ann", ClientID: "2", Body: "b", Outcome: Unknown, Began: 3},
			{Conversation: "c", User: "ann", ClientID: "2", Body: "b", Outcome: Committed, Sequence: 3, Began: 5, Ended: 6},
			{Conversation: "c", User: "bob", ClientID: "1", Body: "c", Outcome: Unknown, Began: 7},
			{Conversation: "c", User: "bob", ClientID: "2", Body: "d", Outcome: Committed, Sequence: 4, Began: 8, Ended: 9},
			{Conversation: "c", User: "bob", ClientID: "3", Body: "e", Outcome: Refused, Began: 8, Ended: 9},
		},
		Reads: []Read{
			{Conversation: "c", Observer: "ann", Events: []Event{
				{Sequence: 1}, {Sequence: 2, User: "ann", ClientID: "1", Body: "a"}, {Sequence: 3, User: "ann", ClientID: "2", Body: "b"}, {Sequence: 4, User: "bob", ClientID: "2", Body: "d"},
			}},
			{Conversation: "c", Observer: "bob", Events: []Event{
				{Sequence: 1}, {Sequence: 2, User: "ann", ClientID: "1", Body: "a"}, {Sequence: 3, User: "ann", ClientID: "2", Body: "b"}, {Sequence: 4, User: "bob", ClientID: "2", Body: "d"},
			}},
		},
	}
}

func TestSoundHistoryHasNoViolation(t *testing.T) {
	if v := Check(sound()); len(v) != 0 {
		t.Fatal(v)
	}
}

func TestBrokenHistoriesAreFound(t *testing.T) {
	cases := []struct {
		name, rule string
		spoil      func(*History)
	}{
		{"acknowledged event lost", "S1", func(h *History) { h.Reads[1].Events = h.Reads[1].Events[:3] }},
		{"acknowledged at another sequence", "S1", func(h *History) { h.Sends[0].Sequence = 3 }},
		{"retry stored twice", "S2", func(h *History) {
			h.Reads[0].Events = append(h.Reads[0].Events, Event{Sequence: 5, User: "ann", ClientID: "2", Body: "b"})
		}},
		{"retry acknowledged differently", "S2", func(h *History) {
			h.Sends = append(h.Sends, Send{Conversation: "c", User: "ann", ClientID: "2", Body: "b", Outcome: Committed, Sequence: 9})
		}},
		{"hole", "S3", func(h *History) { h.Reads[0].Events[3].Sequence = 5 }},
		{"out of order", "S3", func(h *History) {
			e := h.Reads[0].Events
			e[1], e[2] = e[2], e[1]
		}},
		{"observers differ", "S4", func(h *History) { h.Reads[1].Events[2].Body = "x" }},
		{"later send got the lower sequence", "S6", func(h *History) { h.Sends[4].Sequence = 1 }},
		{"never sent", "S8", func(h *History) { h.Reads[0].Events[3].ClientID = "99" }},
		{"refused but stored", "S8", func(h *History) {
			h.Reads[0].Events = append(h.Reads[0].Events, Event{Sequence: 5, User: "bob", ClientID: "3", Body: "e"})
		}},
		{"altered body", "S8", func(h *History) { h.Reads[0].Events[1].Body = "A" }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := sound()
			c.spoil(&h)
			for _, v := range Check(h) {
				if strings.HasPrefix(v.String(), c.rule) {
					return
				}
			}
			t.Fatalf("no %s in %v", c.rule, Check(h))
		})
	}
}
