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
	told time.Time
}

const barCells = 30

func newProgress(t *terminal, all export.Counts) *progress {
	p := &progress{out: t.err, every: 10 * time.Second, now: t.now, all: sumOf(all), told: t.now()}
	if f, ok := t.err.(*os.File); ok && interactive(f) {
		p.bar, p.every = true, 100*time.Millisecond
	}
	return p
}

func sumOf(c export.Counts) int { return c.Users + c.Conversations + c.Members + c.Events }

func (p *progress) add(c export.Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done.Users += c.Users
	p.done.Conversations += c.Conversations
	p.done.Members += c.Members
	p.done.Events += c.Events
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
	share := 1.0
	if p.all > 0 {
		share = min(1, float64(sumOf(p.done))/float64(p.all))
	}
	text := fmt.Sprintf("%3.0f %%  %d users, %d conversations, %d events", share*100, p.done.Users, p.done.Conversations, p.done.Events)
	if !p.bar {
		fmt.Fprintln(p.out, text)
		return
	}
	full := int(share * barCells)
	fmt.Fprintf(p.out, "\r[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", barCells-full), text)
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
