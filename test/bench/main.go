// Command bench compares Parley with the baseline server in one run on one machine and prints
// the ratios: `make bench`. Both servers are processes of their own; the clients are this one.
package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/internal/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := bench{out: os.Stdout}
	flag.DurationVar(&b.step, "step", 3*time.Second, "length of one step of the ladder")
	flag.StringVar(&b.only, "only", "", "fanout1000, fanout5000, rooms, latency or idle; empty = all")
	flag.StringVar(&b.parley, "parley", "", "a parley binary; empty = build it")
	flag.IntVar(&b.idle, "idle", 9000, "idle connections; two file descriptors each on this machine's limit")
	flag.Parse()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	out    io.Writer
	step   time.Duration
	only   string
	parley string
	idle   int
	dir    string
}

// server is a process under load.
type server struct {
	cmd    *exec.Cmd
	target load.Target
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "parley-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.parley == "" {
		b.parley = filepath.Join(b.dir, "parley")
		if err := build(ctx, b.parley, "./cmd/parley"); err != nil {
			return err
		}
	}
	if err := build(ctx, filepath.Join(b.dir, "baseline"), "./test/bench/baseline"); err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"fanout1000", func(ctx context.Context) error { return b.fanOut(ctx, 1000, 6) }},
		{"fanout5000", func(ctx context.Context) error { return b.fanOut(ctx, 5000, 4) }},
		{"rooms", b.rooms},
		{"latency", b.latency},
		{"idle", b.idleMemory},
	} {
		if b.only == "" || b.only == s.name {
			if err := s.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

func build(ctx context.Context, binary, pkg string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// fanOut climbs with one room of n sockets, on each server.
func (b *bench) fanOut(ctx context.Context, n int, goal float64) error {
	rates := map[string]float64{}
	for _, name := range []string{"baseline", "parley"} {
		best, err := b.climb(ctx, name, load.Shape{Rooms: 1, Members: n, Senders: 50}, 100_000/float64(n)/2)
		if err != nil {
			return err
		}
		rates[name] = best.DeliveriesPerSecond()
		fmt.Fprintf(b.out, "%s best: %s\n", name, best)
	}
	fmt.Fprintf(b.out, "fan-out 1 x %d: parley %.0f/s, baseline %.0f/s, ratio %.1f (goal %.0f)\n\n",
		n, rates["parley"], rates["baseline"], rates["parley"]/rates["baseline"], goal)
	return nil
}

func (b *bench) climb(ctx context.Context, name string, shape load.Shape, start float64) (load.Report, error) {
	s, err := b.start(ctx, name)
	if err != nil {
		return load.Report{}, err
	}
	defer s.stop()
	f, err := load.Connect(ctx, s.target, shape, b.out)
	if err != nil {
		return load.Report{}, err
	}
	best, err := f.Climb(ctx, start, 64*start, b.step, func(r load.Report) { fmt.Fprintf(b.out, "  %s %s\n", name, r) })
	return best, errors.Join(err, f.Close())
}

// rooms climbs with 1,000 rooms of 5.
func (b *bench) rooms(ctx context.Context) error {
	for _, name := range []string{"baseline", "parley"} {
		best, err := b.climb(ctx, name, load.Shape{Rooms: 1000, Members: 5, Senders: 5}, 2500)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "%s best: %s\n", name, best)
	}
	fmt.Fprintln(b.out)
	return nil
}

// latency sends little, to see the time of one message.
func (b *bench) latency(ctx context.Context) error {
	s, err := b.start(ctx, "parley")
	if err != nil {
		return err
	}
	defer s.stop()
	f, err := load.Connect(ctx, s.target, load.Shape{Rooms: 1000, Members: 5, Senders: 5}, b.out)
	if err != nil {
		return err
	}
	r, err := f.Run(ctx, 200, 3*b.step)
	fmt.Fprintf(b.out, "1000 x 5 at 200/s: %s\n\n", r)
	return errors.Join(err, f.Close())
}

// idleMemory compares what an idle connection costs.
func (b *bench) idleMemory(ctx context.Context) error {
	kb := map[string]float64{}
	for _, name := range []string{"baseline", "parley"} {
		per, err := b.idleOf(ctx, name)
		if err != nil {
			return err
		}
		kb[name] = per
	}
	fmt.Fprintf(b.out, "idle: parley %.1f KB, baseline %.1f KB per connection, ratio %.2f (goal 0.6)\n", kb["parley"], kb["baseline"], kb["parley"]/kb["baseline"])
	return nil
}

func (b *bench) idleOf(ctx context.Context, name string) (float64, error) {
	s, err := b.start(ctx, name)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	// The users and rooms are there before the first measurement: only connections come between.
	members := 50
	rooms := b.idle / members
	before, err := s.settledMemory(ctx, func() error { return s.target.Prepare(ctx, rooms, members) })
	if err != nil {
		return 0, err
	}
	f, err := load.Connect(ctx, prepared{s.target}, load.Shape{Rooms: rooms, Members: members, Senders: 1}, b.out)
	if err != nil {
		return 0, err
	}
	after, err := s.settledMemory(ctx, func() error { return nil })
	fmt.Fprintf(b.out, "%s: %d KB with none, %d KB with %d connections\n", name, before, after, rooms*members)
	return float64(after-before) / float64(rooms*members), errors.Join(err, f.Close())
}

// prepared is a target whose Prepare was called before.
type prepared struct{ load.Target }

func (prepared) Prepare(context.Context, int, int) error { return nil }

// settledMemory does something, waits until the server's collector has run, and reads its PSS.
func (s *server) settledMemory(ctx context.Context, do func() error) (int, error) {
	if err := do(); err != nil {
		return 0, err
	}
	const quiet = 30 * time.Second // Go collects at least every two minutes, and returns memory in the background
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.NewTimer(quiet).C:
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}

// start runs a server until stop.
func (b *bench) start(ctx context.Context, name string) (*server, error) {
	if name == "baseline" {
		cmd := exec.CommandContext(ctx, filepath.Join(b.dir, "baseline"))
		line, err := firstOutput(cmd, func(r *bufio.Reader) (string, error) { return r.ReadString('\n') })
		return &server{cmd: cmd, target: &plain{address: strings.TrimSpace(line)}}, err
	}
	cmd := exec.CommandContext(ctx, b.parley, "dev", "--json", "--http-addr", "127.0.0.1:0")
	text, err := firstOutput(cmd, func(r *bufio.Reader) (string, error) {
		var o json.RawMessage
		err := json.NewDecoder(r).Decode(&o)
		return string(o), err
	})
	if err != nil {
		return nil, err
	}
	target, err := parleyTarget([]byte(text))
	return &server{cmd: cmd, target: target}, err
}

func parleyTarget(text []byte) (load.Target, error) {
	var dev struct {
		URL         string `json:"http_url"`
		Application string `json:"application_id"`
		KeyFile     string `json:"private_key_file"`
	}
	if err := json.Unmarshal(text, &dev); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(dev.KeyFile)
	if err != nil {
		return nil, err
	}
	var key *rsa.PrivateKey
	if key, err = jwt.ParseRSAPrivateKeyFromPEM(pem); err != nil {
		return nil, err
	}
	return &load.Parley{URL: dev.URL, Application: dev.Application, Key: key, HTTP: http.DefaultClient}, nil
}

// firstOutput starts cmd and reads what it says once it serves.
func firstOutput(cmd *exec.Cmd, read func(*bufio.Reader) (string, error)) (string, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	return read(bufio.NewReader(out))
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait() // the exit status of an interrupted server says nothing
}

// plain is the baseline's protocol.
type plain struct{ address string }

func (p *plain) Prepare(context.Context, int, int) error { return nil }

func (p *plain) Open(ctx context.Context, room, _ int) (*load.Conn, error) {
	c, err := load.Dial(ctx, p.address, "")
	if err != nil {
		return nil, err
	}
	if err := c.Send(p.Opcode(), fmt.Appendf(nil, "J %d", room)); err != nil {
		return nil, err
	}
	return c, c.Frames(func([]byte) bool { return true })
}

func (p *plain) Post(dst []byte, room int, stamp int64) []byte {
	dst = fmt.Appendf(dst, "P %d %d ", room, stamp)
	return append(dst, strings.Repeat(".", 108)...)
}

func (p *plain) Kind(payload []byte) load.Kind {
	switch payload[0] {
	case 'M':
		return load.Delivery
	case 'A':
		return load.Ack
	}
	return load.Other
}

func (p *plain) Stamp(payload []byte) (int64, bool) {
	digits, _, _ := strings.Cut(string(payload[2:min(len(payload), 24)]), " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

func (p *plain) Opcode() byte { return 1 }
