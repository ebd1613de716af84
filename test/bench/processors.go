package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
)

// apart keeps this program off the first half of the processors, which are the nodes' then, until
// back. Without it, what the nodes leave idle speeds up their clients and with them the machine: one
// node leaves more than three. onNodes is what the nodes must be started with; empty when processors
// cannot be assigned here.
func (b *bench) apart(ctx context.Context) (onNodes []string, back func() error) {
	all := runtime.NumCPU()
	if all < 2 {
		fmt.Fprintln(b.out, "one processor: nodes and clients share it")
		return nil, func() error { return nil }
	}
	if err := keepTo(ctx, all/2, all); err != nil {
		fmt.Fprintf(b.out, "nodes and clients share all processors: %v\n", err)
		return nil, func() error { return nil }
	}
	return []string{"taskset", "--cpu-list", span(0, all/2)}, func() error { return keepTo(ctx, 0, all) }
}

// keepTo lets all threads of this program run on the processors from first up to, not including, end.
func keepTo(ctx context.Context, first, end int) error {
	out, err := exec.CommandContext(ctx, "taskset", "--all-tasks", "--pid", "--cpu-list", span(first, end), strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("assign processors: %w: %s", err, out)
	}
	return nil
}

func span(first, end int) string { return fmt.Sprintf("%d-%d", first, end-1) }
