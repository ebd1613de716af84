package main

import (
	"bytes"
	"testing"
	"time"

	"parley/cmd/parley/export"
)

// TestProgressWhereNobodyLooks is a line every ten seconds, of what this run has imported and how far all of
// it is, and nothing at the end, where the report says it.
func TestProgressWhereNobodyLooks(t *testing.T) {
	now, out := time.Unix(0, 0), &bytes.Buffer{}
	p := newProgress(&terminal{err: out, now: func() time.Time { return now }}, export.Counts{Users: 10, Conversations: 10, Members: 20, Events: 160})
	p.skip(export.Counts{Conversations: 5, Members: 10, Events: 80})
	p.add(export.Counts{Users: 5})
	if out.Len() > 0 {
		t.Errorf("too early: %q", out)
	}
	now = now.Add(10 * time.Second)
	p.add(export.Counts{Events: 50})
	p.add(export.Counts{Events: 30})
	now = now.Add(10 * time.Second)
	p.add(export.Counts{Conversations: 5, Members: 10, Users: 5})
	p.end()
	if want := " 75 %  5 users, 0 conversations, 50 events\n100 %  10 users, 5 conversations, 80 events\n"; out.String() != want {
		t.Errorf("told %q, want %q", out, want)
	}
}

// TestTheBarStaysOnItsLine: one that reaches the end of a line would leave a copy of itself at each step.
func TestTheBarStaysOnItsLine(t *testing.T) {
	out := &bytes.Buffer{}
	p := &progress{out: out, bar: true, now: time.Now, all: 1_000_000_000}
	p.add(export.Counts{Events: 999_999_999})
	p.skip(export.Counts{Users: 1})
	p.end()
	for line := range bytes.SplitSeq(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\r")) {
		if len(line) >= 80 {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
	const full = "\r[##############################] 100 %  1000000000 of 1000000000\n"
	if !bytes.HasSuffix(out.Bytes(), []byte(full)) {
		t.Errorf("ends with %q", out)
	}
}
