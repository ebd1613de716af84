// Command receipts measures what the receipts of a large conversation cost who writes in it: some
// thousand sessions of an SDK of the hosted API listen, and each acknowledges every text by itself.
// It sends texts at a fixed rate, in turns while nobody acknowledges and while all do, and prints how
// long a send took to be answered, as a ratio: go run ./test/bench/receipts
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

type options struct {
	parley   string
	sessions int
	rate     float64
	lasts    time.Duration
	rounds   int
}

func main() {
	var o options
	flag.StringVar(&o.parley, "parley", "", "the binary to measure; empty = build it")
	flag.IntVar(&o.sessions, "sessions", 5000, "sessions that listen")
	flag.Float64Var(&o.rate, "rate", 1, "texts per second")
	flag.DurationVar(&o.lasts, "lasts", 10*time.Second, "how long a round lasts")
	flag.IntVar(&o.rounds, "rounds", 6, "rounds with receipts, and without")
	crowd := flag.Bool("listen", false, "be the crowd: what this command starts by itself")
	flag.Parse()
	work := func(ctx context.Context) error { return run(ctx, o) }
	if *crowd {
		work = func(ctx context.Context) error { return listen(ctx, os.Stdin, os.Stdout) }
	}
	if err := work(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "receipts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.parley == "" {
		dir, err := os.MkdirTemp("", "parley-receipts-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		o.parley = filepath.Join(dir, "parley")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", o.parley, "./cmd/parley").CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w: %s", err, out)
		}
	}
	node, err := startNode(ctx, o.parley)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.stop()) }()
	fmt.Fprintf(os.Stderr, "making %d members …\n", o.sessions+1)
	if err := node.target.Prepare(ctx, 1, o.sessions+1); err != nil {
		return err
	}
	return perform(ctx, node, o)
}

// perform brings the crowd and the writer together.
func perform(ctx context.Context, n *node, o options) (err error) {
	who := orders{URL: n.target.URL}
	for i := range o.sessions {
		token, room := n.target.Member(i + 1)
		who.Room, who.Tokens = room, append(who.Tokens, token)
	}
	a, err := assemble(ctx, who)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	token, room := n.target.Member(0)
	w, err := newWriter(ctx, n.target.URL, token, room)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return measure(n, a, w, o)
}

// phase is one of the two that are compared.
type phase struct {
	order     string // to the crowd
	latencies *hdrhistogram.Histogram
	spent     time.Duration // by the node
	answered  int64
	refused   int64
}

// measure sends in rounds, of which every other one is acknowledged, so that whatever else the
// machine does burdens both alike; and prints the comparison.
func measure(n *node, a *audience, w *writer, o options) error {
	fmt.Printf("%d sessions, %g texts/s for %d x %s each, %s/%s, %d processors\n", o.sessions, o.rate, o.rounds, o.lasts, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	phases := []*phase{{order: "ignore"}, {order: "acknowledge"}}
	for _, p := range phases {
		p.latencies = hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	}
	for range o.rounds {
		for _, p := range phases {
			if err := p.round(n, a, w, o); err != nil {
				return err
			}
		}
	}
	for _, p := range phases {
		h := p.latencies
		fmt.Printf("%-11s  p50 %-10s p95 %-10s p99 %-10s max %-10s of %d sends; %d receipts answered, %d refused; %.0f ms of the node's CPU a text\n",
			p.order, at(h, 50), at(h, 95), at(h, 99), at(h, 100), h.TotalCount(), p.answered, p.refused, float64(p.spent.Milliseconds())/float64(h.TotalCount()))
	}
	fmt.Printf("p99 with receipts is %.2f times that without\n", float64(at(phases[1].latencies, 99))/float64(at(phases[0].latencies, 99)))
	return nil
}

// round is one turn of a phase. It ends when the crowd's receipts are answered.
func (p *phase) round(n *node, a *audience, w *writer, o options) error {
	before, err := a.say(p.order)
	if err != nil {
		return err
	}
	cpu, err := n.spent()
	if err != nil {
		return err
	}
	refused, sends := w.refused, p.latencies.TotalCount()
	if err := w.talk(o.rate, o.lasts, p.latencies); err != nil {
		return err
	}
	texts, receipts := (p.latencies.TotalCount()-sends)*int64(o.sessions), int64(0)
	if p.order == "acknowledge" {
		receipts = texts
	}
	after, err := a.settle(before, texts, receipts)
	if err != nil {
		return err
	}
	now, err := n.spent()
	p.spent += now - cpu
	p.answered += after.Answered - before.Answered
	p.refused += after.Refused - before.Refused + int64(w.refused-refused)
	return err
}

func at(h *hdrhistogram.Histogram, percent float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(percent)) * time.Microsecond
}
