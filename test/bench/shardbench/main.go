// Command shardbench measures what one acknowledged event costs at the shard layer, and divides
// it by the physical limit: one goroutine that merges all waiting writes of the same keys into
// one synced Pebble batch. Both run in this process, on this disk, in turns.
//
//	go run ./test/bench/shardbench -rounds 3 -duration 4s
//
// CPU is that of the whole process, proposers included.
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// load is what both contestants do.
type load struct {
	dir       string
	shards    int
	proposers int
	duration  time.Duration
	body      []byte
}

// contestant commits writes durably.
type contestant interface {
	// commit calls done once w is durable and visible.
	commit(w *shard.Write, s keys.Shard, done func(error))
	close() error
}

// result is what one run gave.
type result struct {
	perSecond float64
	cpu       time.Duration // per event
	p50, p99  time.Duration
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shardbench:", err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("dir", "", "directory for the stores (default: a temporary one)")
	rounds := flag.Int("rounds", 3, "rounds of both contestants")
	duration := flag.Duration("duration", 4*time.Second, "duration of one run")
	proposers := flag.Int("proposers", 1024, "concurrent proposers")
	shards := flag.Int("shards", 64, "shards")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the shards' runs")
	flag.Parse()
	if *dir == "" {
		temporary, err := os.MkdirTemp("", "shardbench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		*dir = temporary
	}
	l := load{dir: *dir, shards: *shards, proposers: *proposers, duration: *duration, body: make([]byte, 200)}
	var bare, raft []result
	for i := range *rounds {
		b, err := l.measure(fmt.Sprintf("bare-%d", i), openBare, "")
		if err != nil {
			return err
		}
		r, err := l.measure(fmt.Sprintf("shard-%d", i), openShards, *profile)
		if err != nil {
			return err
		}
		bare, raft = append(bare, b), append(raft, r)
		show("bare", b)
		show("shards", r)
	}
	limit, ours := median(bare), median(raft)
	fmt.Printf("median CPU per event: bare %v, shards %v, ratio %.2f\n", limit, ours, float64(ours)/float64(limit))
	return nil
}

func show(name string, r result) {
	fmt.Printf("%-7s %8.0f events/s  %8v CPU/event  p50 %8v  p99 %8v\n",
		name, r.perSecond, r.cpu, r.p50.Round(time.Microsecond), r.p99.Round(time.Microsecond))
}

func median(rs []result) time.Duration {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b result) int { return cmp.Compare(a.cpu, b.cpu) })
	return rs[len(rs)/2].cpu
}

// measure runs one contestant in a fresh directory.
func (l load) measure(name string, open func(load, *store.Store) (contestant, error), profile string) (result, error) {
	o := store.DefaultOptions()
	st, err := store.Open(filepath.Join(l.dir, name), o)
	if err != nil {
		return result{}, err
	}
	c, err := open(l, st)
	if err != nil {
		return result{}, err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return result{}, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return result{}, err
		}
	}
	r, err := l.drive(c)
	if profile != "" {
		pprof.StopCPUProfile()
	}
	if err != nil {
		return result{}, err
	}
	if err := c.close(); err != nil {
		return result{}, err
	}
	return r, st.Close()
}

// drive lets every proposer write its own conversation, one event after the other.
func (l load) drive(c contestant) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.duration)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	latencies := make([][]time.Duration, l.proposers)
	began, cpu := time.Now(), cpuTime()
	for p := range l.proposers {
		wg.Go(func() {
			done := make(chan error, 1)
			s := keys.Shard(1 + p%l.shards)
			for base := uint64(0); ctx.Err() == nil; base++ {
				w := l.event(s, p, base)
				sent := time.Now()
				c.commit(&w, s, func(err error) { done <- err })
				if err := <-done; err != nil {
					failed.Store(&err)
					return
				}
				latencies[p] = append(latencies[p], time.Since(sent))
			}
		})
	}
	wg.Wait()
	took, used := time.Since(began), cpuTime()-cpu
	if err := failed.Load(); err != nil {
		return result{}, *err
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	n := len(all)
	return result{float64(n) / took.Seconds(), used / time.Duration(n), all[n/2], all[n*99/100]}, nil
}

// event is the write of one small message: event, head, dedup and outbox rows.
func (l load) event(s keys.Shard, proposer int, base uint64) shard.Write {
	var conversation keys.UUID
	binary.BigEndian.PutUint64(conversation[:], uint64(proposer)*0x9e3779b97f4a7c15)
	app, sequence := keys.UUID{1}, base+1
	return shard.Write{
		Entity: keys.Head(s, app, conversation, keys.KindConversation), Base: base, Head: l.body[:48],
		Ops: []store.Op{
			store.Put(keys.Event(s, app, conversation, sequence), l.body),
			store.Put(keys.Dedup(s, app, conversation, keys.UUID{2}, fmt.Sprintf("client-%012d", sequence)), l.body[:8]),
			store.Put(keys.Outbox(s, 2, s, conversation[:], conversation[:], sequence, 0), l.body[:40]),
		},
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
