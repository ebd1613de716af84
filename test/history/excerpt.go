package history

import (
	"fmt"
	"slices"
	"strings"
)

// excerptMax bounds the lines of one excerpt.
const excerptMax = 24

// Excerpt shows what a violation is about: the operations on its conversation that have to do with
// its sequence, or else the last ones, in the order in which they began.
func Excerpt(h History, v Violation) string {
	type line struct {
		at   int64
		text string
	}
	var lines []line
	note := func(conversation string, at int64, from, to uint64, text string) {
		if conversation == v.Conversation && (v.Sequence == 0 || from <= v.Sequence && v.Sequence <= to) {
			lines = append(lines, line{at, text})
		}
	}
	for _, s := range h.Sends {
		to := s.Sequence
		if s.Outcome == Unknown {
			to = v.Sequence // it may be anywhere
		}
		note(s.Conversation, s.Began, s.Sequence, to, fmt.Sprintf("send %s %s: %s %d, %d..%d", s.User, s.ClientID, s.Outcome, s.Sequence, s.Began, s.Ended))
	}
	for _, p := range h.Pages {
		note(p.Conversation, p.Began, p.Start, max(p.Head, v.Sequence), fmt.Sprintf("page %s at %s from %d: %d events, head %d, %d..%d", p.User, p.Node, p.Start, len(p.Events), p.Head, p.Began, p.Ended))
	}
	for _, m := range h.Moves {
		note(m.Conversation, m.Began, 0, v.Sequence, fmt.Sprintf("member %s in=%v: %s, %d..%d", m.User, m.In, m.Outcome, m.Began, m.Ended))
	}
	for _, s := range h.Screens {
		note(s.Conversation, s.Began, s.After, s.After+uint64(len(s.Shown))+1, fmt.Sprintf("screen %s after %d, head %d, %d shown, open=%v", s.Device, s.After, s.Head, len(s.Shown), s.Open))
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	if extra := len(lines) - excerptMax; extra > 0 {
		lines = lines[extra:]
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "  %12d %s\n", l.at, l.text)
	}
	return b.String()
}

func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Refused:
		return "refused"
	default:
		return "unknown"
	}
}
