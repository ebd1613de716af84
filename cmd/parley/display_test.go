package main

import (
	"bytes"
	"testing"
)

func TestDisplay(t *testing.T) {
	for _, c := range []struct {
		name string
		anew bool
		want string
	}{
		{"for a person", true, "\r10 replicas to move\r9 replicas to move \n"},
		{"for a file", false, "10 replicas to move\n9 replicas to move\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := &bytes.Buffer{}
			d := &display{out: out, anew: c.anew}
			d.end()
			for _, text := range []string{"10 replicas to move", "10 replicas to move", "9 replicas to move"} {
				d.tell(text)
			}
			d.end()
			d.end()
			if out.String() != c.want {
				t.Errorf("shown: %q, want %q", out, c.want)
			}
		})
	}
}
