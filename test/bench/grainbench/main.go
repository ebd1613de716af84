// Command grainbench measures what a grain costs: a call of one that is alive, here and on another
// node, an activation, and the memory of conversations that nobody uses at the moment.
//
//	go run ./test/bench/grainbench -conversations 100000 -duration 3s
//
// The nodes live in this process, over a store on disk and loopback connections; CPU is that of
// the whole process, of callers and of both nodes.
package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"parley/test/bench/meter"
)

// bench is what the command line asks for.
type bench struct {
	meter.Program
	conversations int
	callers       int
	duration      time.Duration
	alive         time.Duration // how long conversations stay so without a command
	profile       string
}

// report is what -json prints, for the program that started this one.
type report struct {
	Calls  map[string]calls `json:"calls"` // by what is called: bare or conversation, here or there
	Memory memory           `json:"memory"`
}

func main() {
	var b bench
	flag.IntVar(&b.conversations, "conversations", 100_000, "conversations whose memory is measured")
	flag.IntVar(&b.callers, "callers", 64, "concurrent callers")
	flag.DurationVar(&b.duration, "duration", 3*time.Second, "of each measurement of calls")
	flag.DurationVar(&b.alive, "alive", 2*time.Minute, "how long a conversation stays alive without a command; longer than it takes to use all of them twice")
	flag.StringVar(&b.profile, "memprofile", "", "write a heap profile of the living conversations")
	meter.Run(&b.Program, b.measure)
}

func (b *bench) measure() (r report, err error) {
	if r.Memory, err = b.memory(filepath.Join(b.Dir, "memory")); err != nil {
		return r, fmt.Errorf("memory: %w", err)
	}
	if r.Calls, err = b.calls(filepath.Join(b.Dir, "calls")); err != nil {
		return r, fmt.Errorf("calls: %w", err)
	}
	return r, nil
}
