package main

import (
	"context"
	"fmt"
	"strconv"
)

// grainReport is what grainbench prints.
type grainReport struct {
	Calls map[string]struct {
		P50Micros    float64 `json:"p50_us"`
		P99Micros    float64 `json:"p99_us"`
		PerCPUSecond float64 `json:"per_cpu_second"`
	} `json:"calls"`
	Memory struct {
		AliveBytes       float64 `json:"alive_bytes"`
		PassiveBytes     float64 `json:"passive_bytes"`
		ActivationMicros float64 `json:"activation_us"`
		CommandMicros    float64 `json:"command_us"`
	} `json:"memory"`
}

// idleConversationBytes is what a conversation may keep in memory while nobody uses it.
const idleConversationBytes = 2500

// grains measures calls of grains, what waking a conversation costs, and what it keeps afterwards.
func (b *bench) grains(ctx context.Context) error {
	var r grainReport
	if err := b.child(ctx, "grainbench", &r, "-duration", b.step.String(), "-conversations", strconv.Itoa(b.conversations)); err != nil {
		return err
	}
	for _, way := range []string{"bare here", "bare there", "conversation here", "conversation there"} {
		c, ok := r.Calls[way]
		if !ok {
			return fmt.Errorf("grainbench did not measure %q", way)
		}
		b.table.add("grain call, "+way+", p50 µs", c.P50Micros, 0, noGoal())
		b.table.add("grain call, "+way+", p99 µs", c.P99Micros, 0, noGoal())
		b.table.add("grain call, "+way+", per CPU second", c.PerCPUSecond, 0, noGoal())
	}
	m := r.Memory
	b.table.add("waking a conversation, CPU µs", m.ActivationMicros-m.CommandMicros, 0, noGoal())
	b.table.add(fmt.Sprintf("memory of a passivated conversation of %d, bytes (against %d)", b.conversations, idleConversationBytes),
		m.PassiveBytes, idleConversationBytes, atMost(1))
	b.table.add("of one that is alive and idle, bytes", m.AliveBytes, idleConversationBytes, noGoal())
	return nil
}
