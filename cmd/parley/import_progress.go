package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"parley/cmd/parley/export"
)

// progress shows how far an import is: as a bar that is drawn anew where a person looks, as a line now
// and then elsewhere.
type progress struct {
	out   io.Writer
	bar   bool
	every time.Duration
	now   func() time.Time
	all   int

	mu   sync.Mutex // guards what follows
	done export.Counts
	past export.Counts // what was there already
	told time.Time
}

// barCells is the length of the bar: with its numbers it must not reach the end of a line of 80.
const barCells = 30

func newProgress(t *terminal, all export.Counts) *progress {
	p := &progress{out: t.err, every: 10 * time.Second, now: t.now, all: all.Sum(), told: t.now()}
	if f, ok := t.err.(*os.File); ok && interactive(f) {
		p.bar, p.every = true, 100*time.Millisecond
	}
	return p
}

// add notes what was imported.
func (p *progress) add(c export.Counts) { p.note(&p.done, c) }

// skip notes what was there already.
func (p *progress) skip(c export.Counts) { p.note(&p.past, c) }

func (p *progress) note(sum *export.Counts, c export.Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum.Add(c)
	if now := p.now(); now.Sub(p.told) >= p.every {
		p.told = now
		p.draw()
	}
}

func (p *progress) counts() export.Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// draw shows the numbers. Guarded by mu.
func (p *progress) draw() {
	through, share := p.done.Sum()+p.past.Sum(), 1.0
	if p.all > 0 {
		share = min(1, float64(through)/float64(p.all))
	}
	if !p.bar {
		fmt.Fprintf(p.out, "%3.0f %%  %d users, %d conversations, %d events\n", share*100, p.done.Users, p.done.Conversations, p.done.Events)
		return
	}
	full := int(share * barCells)
	fmt.Fprintf(p.out, "\r[%s%s] %3.0f %%  %d of %d", strings.Repeat("#", full), strings.Repeat(".", barCells-full), share*100, through, p.all)
}

// end leaves the last state where it can be read.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar {
		p.draw()
		fmt.Fprintln(p.out)
	}
}
