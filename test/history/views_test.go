package history

import (
	"slices"
	"strings"
	"testing"
)

// lived is a history with everything in it that keeps every promise; each case breaks it in one way.
func lived() History {
	in := func(sequence uint64, user string) Event {
		return Event{Sequence: sequence, Kind: MemberIn, Subject: user}
	}
	text := func(sequence uint64, user, id string) Event {
		return Event{Sequence: sequence, User: user, ClientID: id, Body: "of app " + id, Application: "app"}
	}
	send := func(user, id string, sequence uint64, began int64) Send {
		return Send{Conversation: "c", User: user, ClientID: id, Body: "of app " + id, Outcome: Committed, Sequence: sequence, Began: began, Ended: began + 1}
	}
	log := []Event{
		in(1, "ann"), in(2, "bob"), text(3, "ann", "1"), text(4, "bob", "1"), {Sequence: 5, Kind: MemberOut, Subject: "bob"}, text(6, "ann", "2"),
	}
	lost := send("bob", "2", 0, 24)
	lost.Outcome = Refused
	deleted := text(3, "ann", "1")
	deleted.Body, deleted.Application, deleted.Deleted = "", "", true
	last := slices.Clone(log)
	last[2] = deleted
	return History{
		Settled: true,
		Sends:   []Send{send("ann", "1", 3, 10), send("bob", "1", 4, 12), lost, send("ann", "2", 6, 30)},
		Reads:   []Read{{Conversation: "c", Observer: "n1", Events: last}, {Conversation: "c", Observer: "n2", Events: last}},
		Pages: []Page{
			{Application: "app", Conversation: "c", User: "bob", Node: "n1", Began: 13, Ended: 15, Start: 2, Events: log[1:4], Head: 4},
			{Application: "app", Conversation: "c", User: "ann", Node: "n2", Began: 32, Ended: 33, Start: 6, Events: log[5:], Head: 6},
			{Application: "app", Conversation: "c", User: "ann", Node: "n2", Began: 60, Ended: 61, Start: 3, Events: last[2:], Head: 6},
		},
		Screens: []Screen{
			{Application: "app", Conversation: "c", User: "ann", Device: "ann's", Began: 5, Head: 2, After: 2, Shown: slices.Clone(log[2:]), Open: true},
			{Application: "app", Conversation: "c", User: "bob", Device: "bob's", Began: 6, Head: 2, After: 2, Shown: slices.Clone(log[2:5])},
			{Application: "app", Conversation: "c", User: "ann", Device: "ann's other", Began: 70, Head: 6, After: 0, Shown: slices.Clone(last), Open: true},
		},
		Moves: []Move{
			{Conversation: "c", User: "ann", In: true, Outcome: Committed, Began: 1, Ended: 2},
			{Conversation: "c", User: "bob", In: true, Outcome: Committed, Began: 3, Ended: 4},
			{Conversation: "c", User: "bob", Outcome: Committed, Began: 20, Ended: 21},
		},
		Receipts: []Receipt{
			{Conversation: "c", User: "bob", Seen: 3, Shown: 4, Outcome: Committed, Told: 3, Member: "m", Began: 16, Ended: 17},
			{Conversation: "c", User: "bob", Seen: 2, Shown: 4, Outcome: Committed, Told: 3, Member: "m", Began: 18, Ended: 19},
		},
		Cursors:   []Cursor{{Conversation: "c", User: "bob", Seen: 3, At: 18}},
		Deletions: []Deletion{{Conversation: "c", Sequence: 3, Ended: 50}},
	}
}

func TestALivedHistoryHasNoViolation(t *testing.T) {
	if v := Check(lived()); len(v) != 0 {
		t.Fatal(v)
	}
}

// TestBrokenViewsAreFound: every rule about what was shown, read and told fails when it should.
func TestBrokenViewsAreFound(t *testing.T) {
	cases := []struct {
		name, rule string
		spoil      func(*History)
	}{
		{"a read from before an acknowledgement", "L0", func(h *History) { h.Pages[1].Head, h.Pages[1].Events = 5, nil }},
		{"a read of what is sent later", "L0", func(h *History) { h.Pages[0].Head = 6 }},
		{"an acknowledgement before the send could take its place", "L0", func(h *History) { h.Sends[0].Began, h.Sends[0].Ended = 40, 41 }},
		{"an unknown send that shows before it was sent", "L0", func(h *History) {
			h.Sends[3].Outcome, h.Sends[3].Sequence, h.Sends[3].Began = Unknown, 0, 90
		}},
		{"a page with a hole", "S3", func(h *History) { h.Pages[0].Events = slices.Delete(slices.Clone(h.Pages[0].Events), 1, 2) }},
		{"a page of another log", "S4", func(h *History) {
			h.Pages[0].Events = slices.Clone(h.Pages[0].Events)
			h.Pages[0].Events[2].User = "ann"
		}},
		{"a screen with a gap", "S5", func(h *History) { h.Screens[0].Shown = slices.Delete(h.Screens[0].Shown, 1, 2) }},
		{"a screen with a repeat", "S5", func(h *History) { h.Screens[0].Shown = slices.Insert(h.Screens[0].Shown, 1, h.Screens[0].Shown[0]) }},
		{"a screen that resumes too late", "S5", func(h *History) { h.Screens[0].After = 1 }},
		{"a stale read after an acknowledgement", "S7", func(h *History) { h.Pages[1].Head, h.Pages[1].Events = 5, nil }},
		{"a stale read after a read", "S7", func(h *History) {
			h.Pages[2].Head, h.Pages[2].Events = 4, h.Pages[2].Events[:2]
		}},
		{"an altered body on a screen", "S8", func(h *History) { h.Screens[1].Shown[0].Body = "x" }},
		{"a refused send on a screen", "S8", func(h *History) {
			h.Screens[0].Shown[3] = Event{Sequence: 6, User: "bob", ClientID: "2", Body: "of app 2"}
		}},
		{"a receipt beyond what was shown", "S9", func(h *History) { h.Receipts[0].Seen = 5 }},
		{"a cursor that nobody claimed", "S9", func(h *History) { h.Cursors[0].Seen = 4 }},
		{"a cursor of a claim that was refused", "S9", func(h *History) { h.Receipts[0].Outcome = Refused }},
		{"a cursor from before its claim", "S9", func(h *History) { h.Cursors[0].At = 15 }},
		{"a cursor that goes back", "S9", func(h *History) { h.Receipts[1].Told = 2 }},
		{"a cursor that goes back after many were moved together", "S9", func(h *History) { h.Receipts[0].AtLeast, h.Receipts[1].Told = true, 2 }},
		{"a furthest that nobody claimed", "S9", func(h *History) { h.Cursors[0].User, h.Cursors[0].Seen = "", 4 }},
		{"a read after leaving", "S10", func(h *History) { h.Pages[0].Began, h.Pages[0].Ended = 22, 23 }},
		{"a read by who never was a member", "S10", func(h *History) { h.Pages[0].User = "eve" }},
		{"a screen that goes on after leaving", "S10", func(h *History) { h.Screens[1].Shown = h.Screens[0].Shown }},
		{"a screen from before joining", "S10", func(h *History) { h.Screens[1].Head, h.Screens[1].After = 1, 1 }},
		{"a send after leaving", "S10", func(h *History) {
			for i := range h.Reads {
				h.Reads[i].Events = append(slices.Clone(h.Reads[i].Events), Event{Sequence: 7, User: "bob", ClientID: "2", Body: "of app 2"})
			}
			h.Sends[2].Outcome = Unknown
		}},
		{"a deleted body in a later read", "S11", func(h *History) { h.Pages[2].Events = h.Screens[0].Shown }},
		{"a deleted body on a later screen", "S11", func(h *History) { h.Screens[2].Shown[2] = h.Screens[0].Shown[0] }},
		{"a deleted body at the end", "S11", func(h *History) {
			h.Reads[1].Events = slices.Clone(h.Reads[1].Events)
			h.Reads[1].Events[2] = h.Screens[0].Shown[0]
		}},
		{"a send without an answer", "S13", func(h *History) { h.Sends[2].Outcome = Unknown }},
		{"a screen that stays behind", "S15", func(h *History) { h.Screens[0].Shown = h.Screens[0].Shown[:2] }},
		{"another application's event on a screen", "S18", func(h *History) { h.Screens[0].Shown[0].Application = "other" }},
		{"another application's event in a read", "S18", func(h *History) { h.Pages[1].Application = "other" }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := lived()
			c.spoil(&h)
			violations := Check(h)
			i := slices.IndexFunc(violations, func(v Violation) bool { return v.Rule == c.rule })
			if i < 0 {
				t.Fatalf("no %s in %v", c.rule, violations)
			}
			if excerpt := Excerpt(h, violations[i]); !strings.Contains(excerpt, "\n") {
				t.Errorf("nothing is shown of %v", violations[i])
			}
		})
	}
}
