// Command receipts measures what the receipts of a large conversation cost who writes in it: some
// thousand sessions of an SDK of the hosted API listen, and each acknowledges every text by itself.
// It sends texts at a fixed rate, first while nobody acknowledges and then while all do, and prints
// how long a send took to be answered, as a ratio: go run ./test/bench/receipts
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
}

func main() {
	var o options
	flag.StringVar(&o.parley, "parley", "", "the binary to measure; empty = build it")
	flag.IntVar(&o.sessions, "sessions", 5000, "sessions that listen")
	flag.Float64Var(&o.rate, "rate", 1, "texts per second")
	flag.DurationVar(&o.lasts, "lasts", 30*time.Second, "for how long, each time")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
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
	c, err := gather(ctx, node, o.sessions)
	if err != nil {
		return err
	}
	defer c.close()
	return measure(ctx, c, o)
}

// measure sends twice, and prints the comparison.
func measure(ctx context.Context, c *crowd, o options) error {
	fmt.Printf("%d sessions, %g texts/s for %s each, %s/%s, %d processors\n", o.sessions, o.rate, o.lasts, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var p99 [2]time.Duration
	for i, acknowledge := range []bool{false, true} {
		c.acknowledge.Store(acknowledge)
		before := c.answered.Load()
		h, err := c.talk(ctx, o.rate, o.lasts)
		if err != nil {
			return err
		}
		p99[i] = at(h, 99)
		fmt.Printf("receipts %-5v  p50 %-10s p99 %-10s max %-10s of %d sends; %d receipts answered, %d refused\n", acknowledge,
			at(h, 50), p99[i], at(h, 100), h.TotalCount(), c.answered.Load()-before, c.refused.Load())
	}
	fmt.Printf("p99 with receipts is %.2f times that without\n", float64(p99[1])/float64(p99[0]))
	return nil
}

func at(h *hdrhistogram.Histogram, percent float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(percent)) * time.Microsecond
}
