// Command shardbench measures what one acknowledged event costs at the shard layer, and divides
// it by the physical limit: one goroutine that merges all waiting writes of the same keys into
// one synced Pebble batch. Both run in this process, on this disk, in turns.
//
//	go run ./test/bench/shardbench -rounds 3 -duration 4s            # one node
//	go run ./test/bench/shardbench -nodes 3                          # replicated
//	go run ./test/bench/shardbench -nodes 3 -shards 256 -idle 20s    # a cluster that nobody uses
//
// CPU is that of the whole process: proposers and all nodes.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"time"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/test/bench/meter"
)

// contestant commits writes durably.
type contestant interface {
	// commit calls done once w is durable and visible.
	commit(w *shard.Write, s keys.Shard, done func(error))
	// syncs counts what it made the disk sync so far.
	syncs() (uint64, error)
	close() error
}

// bench is what the command line asks for.
type bench struct {
	meter.Program
	load
	nodes   int
	rounds  int
	idle    time.Duration
	profile string
}

// report is what -json prints, for the program that started this one.
type report struct {
	BareMicros  float64 `json:"bare_us"`         // CPU of one event
	ShardMicros float64 `json:"shards_us"`       // the same
	PerSync     float64 `json:"events_per_sync"` // of the shards
	// Of one processor, by -idle: the whole process, and stores without a cluster.
	IdlePercent   float64 `json:"idle_percent"`
	StoresPercent float64 `json:"stores_percent"`
}

func main() {
	b := bench{load: load{body: make([]byte, 200)}}
	flag.IntVar(&b.rounds, "rounds", 3, "rounds of both contestants")
	flag.DurationVar(&b.duration, "duration", 4*time.Second, "duration of one run")
	flag.IntVar(&b.proposers, "proposers", 1024, "concurrent proposers")
	flag.IntVar(&b.shards, "shards", 64, "shards")
	flag.IntVar(&b.nodes, "nodes", 1, "nodes, each with a replica of every shard")
	flag.DurationVar(&b.idle, "idle", 0, "measure the nodes without any work, for so long; no contest")
	flag.StringVar(&b.profile, "cpuprofile", "", "write a CPU profile of the shards' last run")
	meter.Run(&b.Program, b.report)
}

// report is of the contest, or of a cluster that nobody uses.
func (b *bench) report() (report, error) {
	if b.idle > 0 {
		return b.rest()
	}
	return b.contest()
}

// contest lets both write in turns.
func (b *bench) contest() (report, error) {
	var bare, raft []result
	for i := range b.rounds {
		open := func(dir string) (contestant, error) { return openBare(dir, b.proposers) }
		r, err := b.measure(fmt.Sprintf("bare-%d", i), open, "")
		if err != nil {
			return report{}, err
		}
		bare = append(bare, r)
		b.show("bare", r)
		open = func(dir string) (contestant, error) { return openCluster(dir, b.nodes, b.shards) }
		if r, err = b.measure(fmt.Sprintf("shards-%d", i), open, b.profile); err != nil {
			return report{}, err
		}
		raft = append(raft, r)
		b.show("shards", r)
	}
	limit, ours := middle(bare), middle(raft)
	fmt.Fprintf(b.Out, "median CPU per event: bare %v, shards %v, ratio %.2f; %.1f events per sync\n", limit.cpu, ours.cpu,
		float64(ours.cpu)/float64(limit.cpu), ours.perSync)
	return report{BareMicros: micros(limit.cpu), ShardMicros: micros(ours.cpu), PerSync: ours.perSync}, nil
}

func (b *bench) show(name string, r result) {
	fmt.Fprintf(b.Out, "%-7s %8.0f events/s  %8v CPU/event  %6.1f events/sync  p50 %8v  p99 %8v\n",
		name, r.perSecond, r.cpu, r.perSync, r.p50.Round(time.Microsecond), r.p99.Round(time.Microsecond))
}

// middle is the run whose events cost the median.
func middle(rs []result) result {
	rs = slices.SortedFunc(slices.Values(rs), func(a, b result) int { return cmp.Compare(a.cpu, b.cpu) })
	return rs[len(rs)/2]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// measure runs one contestant in a directory of its own, which is gone afterwards.
func (b *bench) measure(name string, open func(dir string) (contestant, error), profile string) (r result, err error) {
	dir := filepath.Join(b.Dir, name)
	c, err := open(dir)
	if err != nil {
		return result{}, err
	}
	err = profiled(profile, func() error { r, err = b.drive(c); return err })
	if err != nil {
		return result{}, err
	}
	if err := c.close(); err != nil {
		return result{}, err
	}
	return r, os.RemoveAll(dir)
}

// profiled runs f, with a CPU profile of it in a file unless that has no name.
func profiled(file string, f func() error) error {
	if file == "" {
		return f()
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f()
}
