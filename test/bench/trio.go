package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"parley/internal/load"
)

// trioNodes is the size of the smallest cluster that survives a node.
const trioNodes = 3

// shardReport is what shardbench prints.
type shardReport struct {
	BareMicros    float64 `json:"bare_us"`
	ShardMicros   float64 `json:"shards_us"`
	PerSync       float64 `json:"events_per_sync"`
	IdlePercent   float64 `json:"idle_percent"`
	StoresPercent float64 `json:"stores_percent"`
}

// shardbench runs the program that measures the shard layer in a process of its own.
func (b *bench) shardbench(ctx context.Context, args ...string) (r shardReport, err error) {
	return r, b.child(ctx, "shardbench", &r, args...)
}

// child runs a program beside this one and reads the JSON that it prints.
func (b *bench) child(ctx context.Context, name string, into any, args ...string) error {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, name), append([]string{"-json", "-dir", dir}, args...)...)
	cmd.Stderr = b.out
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read what %s prints: %w", name, err)
	}
	return os.RemoveAll(dir)
}

// shard compares the CPU of one event at the shard layer with that of one bare writer.
func (b *bench) shard(ctx context.Context) error {
	r, err := b.shardbench(ctx, "-rounds", "3", "-duration", b.step.String())
	if err != nil {
		return err
	}
	b.table.add("shard layer, 1,024 proposers, CPU per event, µs (against one bare writer)", r.ShardMicros, r.BareMicros, atMost(2))
	return nil
}

// replicated is shard with three nodes.
func (b *bench) replicated(ctx context.Context) error {
	r, err := b.shardbench(ctx, "-nodes", strconv.Itoa(trioNodes), "-rounds", "3", "-duration", b.step.String())
	if err != nil {
		return err
	}
	b.table.add("three nodes, 1,024 proposers, CPU per event, µs (against one bare writer)", r.ShardMicros, r.BareMicros, atMost(5))
	b.table.add("events per sync there, of all nodes (against 10)", r.PerSync, 10, atLeast(1))
	return nil
}

// idleFor is how long a cluster is watched that nobody uses.
const idleFor = 20 * time.Second

// idleTrio measures a cluster of three that nobody uses: its shards alone, and whole processes.
func (b *bench) idleTrio(ctx context.Context) error {
	const shards = 256
	r, err := b.shardbench(ctx, "-nodes", strconv.Itoa(trioNodes), "-shards", strconv.Itoa(shards), "-idle", idleFor.String())
	if err != nil {
		return err
	}
	b.table.add("three idle nodes, 256 shards, replication, % of one CPU (against 2)", r.IdlePercent, 2, atMost(1))
	b.table.add("of that, their stores, %", r.StoresPercent, 0, noGoal())
	for _, n := range []int{64, shards} {
		percent, err := b.idleNodes(ctx, n)
		if err != nil {
			return err
		}
		b.table.add(fmt.Sprintf("three idle processes, %d shards, %% of one CPU", n), percent, 0, noGoal())
	}
	return nil
}

func (b *bench) idleNodes(ctx context.Context, shards int) (percent float64, err error) {
	c, err := b.startNodes(ctx, trioNodes, shards)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	// What growth has left to do is done in this time: leads spread, logs are cut.
	if err := pause(ctx, idleFor); err != nil {
		return 0, err
	}
	before, err := c.cpu()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := pause(ctx, idleFor); err != nil {
		return 0, err
	}
	after, err := c.cpu()
	return 100 * float64(after-before) / float64(time.Since(began)), err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// fanOutTrio compares what CPU a delivery costs in a cluster of three with what it costs on one
// node, with the same sockets and messages, and on the same processors.
func (b *bench) fanOutTrio(ctx context.Context) (err error) {
	onNodes, back := b.apart(ctx)
	defer func() { err = errors.Join(err, back()) }()
	const sockets = 3000
	rates := []float64{20, 100, 500}
	one, err := b.deliveries(ctx, 1, sockets, rates, onNodes)
	if err != nil {
		return err
	}
	three, err := b.deliveries(ctx, trioNodes, sockets, rates, onNodes)
	if err != nil {
		return err
	}
	for i, rate := range rates {
		if one[i] == 0 || three[i] == 0 {
			fmt.Fprintf(b.out, "  %g messages/s were not kept on this machine: no figure\n", rate)
			continue
		}
		b.table.add(fmt.Sprintf("three nodes, 1 conversation of %d sockets, %g/s: delivered per CPU second (against one node)", sockets, rate),
			three[i], one[i], atLeast(0.8))
	}
	return nil
}

// deliveries gives how many deliveries a second of processor time brings to the sockets of one
// conversation, at each rate of messages; 0 for a rate at which not everything arrived.
func (b *bench) deliveries(ctx context.Context, count, sockets int, rates []float64, onNodes []string) (perSecond []float64, err error) {
	c, err := b.startNodes(ctx, count, 64, onNodes...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	target, err := c.target(ctx)
	if err != nil {
		return nil, err
	}
	f, err := load.Connect(ctx, target, load.Shape{Rooms: 1, Members: sockets, Senders: 48}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, rate := range rates {
		n, err := b.costOf(ctx, c, f, rate)
		if err != nil {
			return nil, err
		}
		perSecond = append(perSecond, n)
	}
	return perSecond, nil
}

// costOf measures one rate, twice if the machine was busy with something else the first time.
func (b *bench) costOf(ctx context.Context, c *nodes, f *load.Fleet, rate float64) (perSecond float64, err error) {
	const backlog = 10 * time.Second // what comes late would count for the next step
	for range 2 {
		before, err := c.cpu()
		if err != nil {
			return 0, err
		}
		r, err := f.Run(ctx, rate, 2*b.step)
		if err != nil {
			return 0, err
		}
		after, err := c.cpu()
		if err != nil {
			return 0, err
		}
		perSecond = float64(r.Delivered) / (after - before).Seconds()
		fmt.Fprintf(b.out, "  %d nodes: %s, %.0f delivered per CPU second\n", len(c.urls), r, perSecond)
		if r.Delivered == r.Expected && r.Acked == r.Sent && r.Lost == 0 {
			return perSecond, nil
		}
		if err := pause(ctx, backlog); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
