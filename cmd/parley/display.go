package main

import (
	"fmt"
	"io"
	"os"
)

// display shows how far something is: in one line that is written anew where a person looks, in a line for
// each change elsewhere.
type display struct {
	out  io.Writer
	anew bool
	last string
	open bool // the cursor stands behind last
}

func newDisplay(t *terminal) *display {
	f, ok := t.err.(*os.File)
	return &display{out: t.err, anew: ok && interactive(f)}
}

// tell shows text, unless that is what is shown already.
func (d *display) tell(text string) {
	switch {
	case text == d.last:
		return
	case d.anew:
		fmt.Fprintf(d.out, "\r%-*s", len(d.last), text) // as far as the last one went
		d.open = true
	default:
		fmt.Fprintln(d.out, text)
	}
	d.last = text
}

// end leaves what was shown last, and goes to the next line. It may be called more than once.
func (d *display) end() {
	if d.open {
		fmt.Fprintln(d.out)
		d.open = false
	}
}
