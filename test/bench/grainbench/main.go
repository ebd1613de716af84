// Command grainbench measures what a grain costs: a call of one that is alive, here and on another
// node, an activation, and the memory of conversations that nobody uses at the moment.
//
//	go run ./test/bench/grainbench -conversations 100000 -duration 3s
//
// The nodes live in this process, over a store on disk and loopback connections; CPU is that of
// the whole process, of callers and of both nodes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// bench is what the command line asks for.
type bench struct {
	dir           string
	conversations int
	callers       int
	duration      time.Duration
	alive         time.Duration // how long conversations stay so without a command
	profile       string
	json          bool
	out           io.Writer // what people read
}

// report is what -json prints, for the program that started this one.
type report struct {
	Calls  map[string]calls `json:"calls"` // by what is called: bare or conversation, here or there
	Memory memory           `json:"memory"`
}

func main() {
	b := bench{out: os.Stdout}
	flag.StringVar(&b.dir, "dir", "", "directory for the stores (default: a temporary one)")
	flag.IntVar(&b.conversations, "conversations", 100_000, "conversations whose memory is measured")
	flag.IntVar(&b.callers, "callers", 64, "concurrent callers")
	flag.DurationVar(&b.duration, "duration", 3*time.Second, "of each measurement of calls")
	flag.DurationVar(&b.alive, "alive", 2*time.Minute, "how long a conversation stays alive without a command; longer than it takes to use all of them twice")
	flag.StringVar(&b.profile, "memprofile", "", "write a heap profile of the living conversations")
	flag.BoolVar(&b.json, "json", false, "print the result as JSON, and all else to standard error")
	flag.Parse()
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "grainbench:", err)
		os.Exit(1)
	}
}

func (b *bench) run() error {
	if b.json {
		b.out = os.Stderr
	}
	if b.dir == "" {
		temporary, err := os.MkdirTemp("", "grainbench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		b.dir = temporary
	}
	var r report
	var err error
	if r.Memory, err = b.memory(filepath.Join(b.dir, "memory")); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	if r.Calls, err = b.calls(filepath.Join(b.dir, "calls")); err != nil {
		return fmt.Errorf("calls: %w", err)
	}
	if !b.json {
		return nil
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
