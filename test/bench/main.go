// Command bench compares Parley with the baseline server in one run on one machine and prints
// the ratios: `make bench`. Both servers are processes of their own; the clients are this one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"parley/internal/load"
	"parley/test/bench/meter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := bench{out: os.Stdout}
	flag.DurationVar(&b.step, "step", 3*time.Second, "length of one step of a ladder")
	flag.IntVar(&b.repeat, "repeat", 1, "rounds; the table shows medians")
	flag.StringVar(&b.only, "only", "", "one of "+strings.Join(partNames(), ", ")+"; empty = all")
	flag.StringVar(&b.parley, "parley", "", "a parley binary; empty = build it")
	flag.IntVar(&b.idle, "idle", 10_000, "idle connections")
	flag.IntVar(&b.conversations, "conversations", 100_000, "conversations whose memory is measured")
	flag.Parse()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	out    io.Writer
	step   time.Duration
	repeat int
	only   string
	parley string
	idle   int
	dir    string

	conversations int
	table         table
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.only != "" && !slices.Contains(partNames(), b.only) {
		return fmt.Errorf("no part is called %q; there are %s", b.only, strings.Join(partNames(), ", "))
	}
	if b.dir, err = os.MkdirTemp("", "parley-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	for n := range b.repeat {
		fmt.Fprintf(b.out, "round %d of %d\n", n+1, b.repeat)
		if err := b.round(ctx); err != nil {
			// What was measured is worth reading even when a later part failed.
			return errors.Join(err, b.table.print(b.out))
		}
	}
	return b.table.print(b.out)
}

// part is one thing that is measured.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

// parts are all of them, in the order in which they run.
func parts() []part {
	return []part{
		{"fanout1000", func(b *bench, ctx context.Context) error { return b.fanOut(ctx, 1000, 6) }},
		{"fanout5000", func(b *bench, ctx context.Context) error { return b.fanOut(ctx, 5000, 4) }},
		{"rooms", (*bench).rooms},
		{"latency", (*bench).latency},
		{"idle", (*bench).idleMemory},
		{"shard", (*bench).shard},
		{"replicated", (*bench).replicated},
		{"idle-three", (*bench).idleTrio},
		{"fanout-three", (*bench).fanOutTrio},
		{"grains", (*bench).grains},
	}
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func (b *bench) round(ctx context.Context) error {
	for _, p := range parts() {
		if b.only != "" && b.only != p.name {
			continue
		}
		d, err := probeDisk(b.dir, time.Second)
		if err != nil {
			return err
		}
		b.table.machine(d)
		fmt.Fprintf(b.out, "%s: 4 KiB append+fsync %.0f/s, p50 %v; load average %s\n", p.name, d.perSecond, d.p50, meter.Load())
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) build(ctx context.Context) error {
	binaries := map[string]string{"baseline": "./test/bench/baseline", "shardbench": "./test/bench/shardbench", "grainbench": "./test/bench/grainbench"}
	if b.parley == "" {
		b.parley = filepath.Join(b.dir, "parley")
		binaries["parley"] = "./cmd/parley"
	}
	for name, pkg := range binaries {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(b.dir, name), pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// contestants run the same ladder, the yardstick first.
func contestants() []string { return []string{"baseline", "parley"} }

// fanOut climbs with one room of n sockets, on each server.
func (b *bench) fanOut(ctx context.Context, n int, goal float64) error {
	rates := map[string]float64{}
	for _, name := range contestants() {
		best, _, err := b.climb(ctx, name, load.Shape{Rooms: 1, Members: n, Senders: 50}, 100_000/float64(n)/2)
		if err != nil {
			return err
		}
		rates[name] = best.DeliveriesPerSecond()
	}
	b.table.add(fmt.Sprintf("fan-out, 1 conversation of %d sockets, delivered/s", n), rates["parley"], rates["baseline"], atLeast(goal))
	return nil
}

// climb looks for the highest rate that a server keeps, and what CPU a message costs it there.
func (b *bench) climb(ctx context.Context, name string, shape load.Shape, start float64) (load.Report, time.Duration, error) {
	s, err := b.start(ctx, name)
	if err != nil {
		return load.Report{}, 0, err
	}
	defer s.stop()
	f, err := load.Connect(ctx, s.target, shape, nil)
	if err != nil {
		return load.Report{}, 0, err
	}
	var best, cost time.Duration
	used, unread := s.cpu()
	report, err := f.Climb(ctx, start, 256*start, b.step, func(r load.Report) {
		now, err := s.cpu()
		unread = errors.Join(unread, err)
		cost, used = (now-used)/time.Duration(max(1, r.Acked)), now
		if r.Kept() {
			best = cost
		}
		fmt.Fprintf(b.out, "  %-8s %s, server CPU/message %v\n", name, r, cost)
	})
	fmt.Fprintf(b.out, "%s best: %s\n", name, report)
	return report, best, errors.Join(err, unread, f.Close())
}

// rooms climbs with 1,000 rooms of 5. The disk is measured beside it, because it bounds the goal.
func (b *bench) rooms(ctx context.Context) error {
	const floor, usualDisk = 10_000, 1_600
	reports, costs := map[string]load.Report{}, map[string]time.Duration{}
	for _, name := range contestants() {
		r, cost, err := b.climb(ctx, name, load.Shape{Rooms: 1000, Members: 5, Senders: 5}, 2500)
		if err != nil {
			return err
		}
		reports[name], costs[name] = r, cost
	}
	before := b.table.disks[len(b.table.disks)-1] // round's, a moment before
	after, err := probeDisk(b.dir, time.Second)
	if err != nil {
		return err
	}
	b.table.machine(after)
	acked := func(name string) float64 { r := reports[name]; return float64(r.Acked) / r.Elapsed.Seconds() }
	goal := floor * min(1, (before.perSecond+after.perSecond)/2/usualDisk)
	b.table.add("1,000 conversations x 5, acked sends/s (against the goal)", acked("parley"), goal, atLeast(1))
	b.table.add("the same against the baseline, which stores nothing", acked("parley"), acked("baseline"), noGoal())
	b.table.add("server CPU per send there, µs", micros(costs["parley"]), micros(costs["baseline"]), noGoal())
	p := reports["parley"]
	b.table.add("send to ack there, p99 ms", micros(p.AckP99)/1000, 0, noGoal())
	b.table.add("send to delivery there, p99 ms", micros(p.P99)/1000, 0, noGoal())
	return nil
}

// latency sends little, to see the time of one message.
func (b *bench) latency(ctx context.Context) error {
	s, err := b.start(ctx, "parley")
	if err != nil {
		return err
	}
	defer s.stop()
	f, err := load.Connect(ctx, s.target, load.Shape{Rooms: 1000, Members: 5, Senders: 5}, nil)
	if err != nil {
		return err
	}
	before, err := probeDisk(b.dir, b.step)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := f.Run(ctx, 200, 3*b.step)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	after, err := probeDisk(b.dir, b.step)
	if err != nil {
		return err
	}
	disk := (before.p50 + after.p50) / 2
	fmt.Fprintf(b.out, "  %s; append+fsync p50 %v before, %v after\n", r, before.p50, after.p50)
	b.table.add("200 sends/s, ack p50 ms (against 2 append+fsync + 1 ms)", micros(r.AckP50)/1000, micros(2*disk+time.Millisecond)/1000, atMost(1))
	b.table.add("200 sends/s, delivery p50 ms", micros(r.P50)/1000, 0, noGoal())
	b.table.add("200 sends/s, ack p99 ms", micros(r.AckP99)/1000, 0, noGoal())
	return nil
}

// idleMemory compares what an idle connection costs.
func (b *bench) idleMemory(ctx context.Context) error {
	kb := map[string]float64{}
	for _, name := range contestants() {
		per, err := b.idleOf(ctx, name)
		if err != nil {
			return err
		}
		kb[name] = per
	}
	b.table.add(fmt.Sprintf("memory of an idle connection of %d, KB", b.idle), kb["parley"], kb["baseline"], atMost(0.6))
	return nil
}

func (b *bench) idleOf(ctx context.Context, name string) (float64, error) {
	s, err := b.start(ctx, name)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	// The users and rooms are there before the first measurement: only connections come between.
	const members = 50
	rooms := max(1, b.idle/members)
	if err := s.target.Prepare(ctx, rooms, members); err != nil {
		return 0, err
	}
	before, err := s.settledMemory(ctx)
	if err != nil {
		return 0, err
	}
	f, err := load.Connect(ctx, prepared{s.target}, load.Shape{Rooms: rooms, Members: members, Senders: 1}, nil)
	if err != nil {
		return 0, err
	}
	after, err := s.settledMemory(ctx)
	fmt.Fprintf(b.out, "  %s: %d KB with none, %d KB with %d connections\n", name, before, after, rooms*members)
	return float64(after-before) / float64(rooms*members), errors.Join(err, f.Close())
}
