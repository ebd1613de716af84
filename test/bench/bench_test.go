package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/internal/load"
)

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		goal  goal
		ratio float64
		want  string
	}{
		{atLeast(6), 6, "met"}, {atLeast(6), 5.99, "missed"}, {atLeast(6), 7, "met"},
		{atMost(2), 2, "met"}, {atMost(2), 2.01, "missed"}, {atMost(2), 0.1, "met"},
		{noGoal(), 5, ""},
	} {
		if got := c.goal.verdict(c.ratio); got != c.want {
			t.Errorf("%g against %q is %q, want %q", c.ratio, c.goal, got, c.want)
		}
	}
}

// TestTableOfRounds: a figure of several rounds is shown by its medians, and its ratio is the
// median of the rounds' own, not that of the medians.
func TestTableOfRounds(t *testing.T) {
	var tb table
	for _, perSecond := range []float64{100, 300, 200} {
		tb.machine(disk{perSecond: perSecond, p50: time.Millisecond})
	}
	for _, round := range [][2]float64{{10, 1}, {100, 50}, {30, 10}} {
		tb.add("speed", round[0], round[1], atLeast(3))
	}
	tb.add("alone", 1234, 0, noGoal())
	var out strings.Builder
	if err := tb.print(&out); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "|") {
			rows = append(rows, strings.Join(strings.Fields(line), " "))
		}
	}
	want := []string{"| figure | Parley | compared with | ratio | ratios of the rounds | goal | |", "|--- |--- |--- |--- |--- |--- |---|",
		"| speed | 30 | 10 | 3.00 | 10.00, 2.00, 3.00 | >= 3 | met |", "| alone | 1234 | | | | | |"}
	if !slices.Equal(rows, want) {
		t.Errorf("printed\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(out.String(), "append+fsync 200/s, p50 1ms (medians of 3)") {
		t.Errorf("the machine is missing: %s", out.String())
	}
}

func TestAnEmptyTablePrintsNothing(t *testing.T) {
	var out strings.Builder
	if err := new(table).print(&out); err != nil || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestChild reads what a program beside this one prints, and says which one failed.
func TestChild(t *testing.T) {
	for name, c := range map[string]struct{ script, failure string }{
		"good":  {`echo "{\"events_per_sync\": 12.5}"; echo seen >&2`, ""},
		"ended": {`exit 3`, "exit status 3"},
		"mute":  {`true`, "what shardbench prints"},
	} {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			b := &bench{dir: t.TempDir(), out: &said}
			if err := os.WriteFile(filepath.Join(b.dir, "shardbench"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			r, err := b.shardbench(t.Context())
			switch {
			case c.failure == "":
				if err != nil || r.PerSync != 12.5 || said.String() != "seen\n" {
					t.Errorf("%+v, %v, and said %q", r, err, said.String())
				}
			case err == nil || !strings.Contains(err.Error(), c.failure):
				t.Errorf("%v, want %q", err, c.failure)
			}
		})
	}
}

// TestOnlyKnownParts: a misspelt part is refused before anything is built.
func TestOnlyKnownParts(t *testing.T) {
	err := (&bench{only: "fanout"}).run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "fanout1000") {
		t.Errorf("%v", err)
	}
}

// TestPartsAreDocumented compares the parts with what the docs say -only takes.
func TestPartsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range partNames() {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/benchmarks.md says nothing of part %s", name)
		}
	}
}

// TestSpread: members connect to the nodes in turn, in the same application.
func TestSpread(t *testing.T) {
	s := &spread{Parley: &load.Parley{URL: "a", Application: "app"}, urls: []string{"a", "b", "c"}}
	for member, want := range []string{"a", "b", "c", "a", "b"} {
		if there := s.at(member); there.URL != want || there.Application != "app" {
			t.Errorf("member %d connects to %s of %s, want %s", member, there.URL, there.Application, want)
		}
	}
	if s.URL != "a" {
		t.Error("the target itself was changed")
	}
}
