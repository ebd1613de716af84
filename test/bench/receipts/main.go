// Command receipts measures what the receipts of a large conversation cost who writes in it: some
// thousand sessions of an SDK of the hosted API, or native ones, listen, and each acknowledges every text by
// itself.
// It sends texts at a fixed rate, in turns while nobody acknowledges and while all do, and prints how
// long a send took to be answered, as a ratio: go run ./test/bench/receipts
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

type options struct {
	parley   string
	sessions int
	rates    []float64
	random   bool
	native   bool
	lasts    time.Duration
	rounds   int
}

func main() {
	var o options
	flag.StringVar(&o.parley, "parley", "", "the binary to measure; empty = build it")
	flag.IntVar(&o.sessions, "sessions", 5000, "sessions that listen")
	flag.Func("rate", "texts per second, 1 unless given; given again, each rate is measured in its turn", func(text string) error {
		rate, err := strconv.ParseFloat(text, 64)
		if o.rates = append(o.rates, rate); err == nil && !(rate > 0) {
			err = errors.New("must be positive")
		}
		return err
	})
	flag.BoolVar(&o.native, "native", false, "the sessions speak Parley's own protocol, in place of the SDK's")
	flag.BoolVar(&o.random, "random", false, "texts come at random times, so that some meet the receipts of others, in place of one after the other")
	flag.DurationVar(&o.lasts, "lasts", 10*time.Second, "how long a round lasts")
	flag.IntVar(&o.rounds, "rounds", 6, "rounds with receipts, and without")
	crowd := flag.Bool("listen", false, "be the crowd: what this command starts by itself")
	flag.Parse()
	if o.rates == nil {
		o.rates = []float64{1}
	}
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
	who := orders{URL: n.target.URL, Native: o.native}
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
	w, err := newWriter(ctx, protocolOf(o.native), n.target.URL, token, room)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	s := &scene{o, n, a, w}
	for _, rate := range o.rates {
		if err := s.measure(rate); err != nil {
			return err
		}
	}
	return nil
}

// scene is everybody who takes part.
type scene struct {
	options
	node     *node
	audience *audience
	writer   *writer
}

// phase is one of the two that are compared.
type phase struct {
	order     string // to the crowd
	latencies *hdrhistogram.Histogram
	answered  int64
	refused   int64
	node      time.Duration // of processor time spent
	crowd     time.Duration // likewise
}

// measure sends in rounds, of which every other one is acknowledged, so that whatever else the
// machine does burdens both alike; and prints the comparison.
func (s *scene) measure(rate float64) error {
	fmt.Printf("%d %s sessions, %g texts/s %s for %d x %s each, %s/%s, %d processors\n",
		s.sessions, map[bool]string{true: "native", false: "SDK"}[s.native], rate, map[bool]string{true: "at random", false: "at even gaps"}[s.random], s.rounds, s.lasts, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	phases := []*phase{{order: "ignore"}, {order: "acknowledge"}}
	for _, p := range phases {
		p.latencies = hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	}
	for i := range s.rounds {
		for _, p := range phases {
			if err := s.round(p, s.gaps(rate, i)); err != nil {
				return err
			}
		}
	}
	for _, p := range phases {
		h := p.latencies
		each := func(d time.Duration) float64 { return float64(d.Milliseconds()) / float64(h.TotalCount()) }
		fmt.Printf("%-11s  p50 %-10s p95 %-10s p99 %-10s max %-10s of %d sends; %d receipts answered, %d refused; CPU a text: node %.0f ms, crowd %.0f ms\n",
			p.order, at(h, 50), at(h, 95), at(h, 99), at(h, 100), h.TotalCount(), p.answered, p.refused, each(p.node), each(p.crowd))
	}
	fmt.Printf("p99 with receipts is %.2f times that without\n", float64(at(phases[1].latencies, 99))/float64(at(phases[0].latencies, 99)))
	return nil
}

// gaps gives the times between one text and the next. At random they are the same for both phases of a
// round.
func (o options) gaps(rate float64, round int) func() time.Duration {
	mean := float64(time.Second) / rate
	if !o.random {
		return func() time.Duration { return time.Duration(mean) }
	}
	rng := rand.New(rand.NewPCG(1, uint64(round)))
	return func() time.Duration { return time.Duration(rng.ExpFloat64() * mean) }
}

// round is one turn of a phase. It ends when the crowd's receipts are answered.
func (s *scene) round(p *phase, gap func() time.Duration) error {
	before, err := s.audience.say(p.order)
	if err != nil {
		return err
	}
	node, crowd, err := s.spent()
	if err != nil {
		return err
	}
	refused, sends := s.writer.refused, p.latencies.TotalCount()
	if err := s.writer.talk(gap, s.lasts, p.latencies); err != nil {
		return err
	}
	texts, receipts := (p.latencies.TotalCount()-sends)*int64(s.sessions), int64(0)
	if p.order == "acknowledge" {
		receipts = texts
	}
	after, err := s.audience.settle(before, texts, receipts)
	if err != nil {
		return err
	}
	p.answered += after.Answered - before.Answered
	p.refused += after.Refused - before.Refused + int64(s.writer.refused-refused)
	nodeNow, crowdNow, err := s.spent()
	p.node, p.crowd = p.node+nodeNow-node, p.crowd+crowdNow-crowd
	return err
}

// spent is the processor time of the two processes so far.
func (s *scene) spent() (node, crowd time.Duration, err error) {
	if node, err = spent(s.node.cmd.Process); err != nil {
		return 0, 0, err
	}
	crowd, err = spent(s.audience.cmd.Process)
	return node, crowd, err
}

func at(h *hdrhistogram.Histogram, percent float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(percent)) * time.Microsecond
}
