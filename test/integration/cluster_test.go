//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/test/history"
)

// trio is a cluster of real processes on ports that stay theirs over restarts.
type trio struct {
	dir   string
	names []string
	ports map[string][4]string // http, gossip, rpc, raft
	nodes map[string]*process
	flags map[string][]string // beside those of every node, by node
}

// takenPorts are ports that this test process gave away, and that nobody may have bound yet.
var takenPorts sync.Map

// The ports of nodes are below those that Linux gives to whoever asks for any, and to the near end of
// connections: nobody comes by one between two starts of its node.
const portsFrom, portsTo = 20_000, 32_000

// freePort finds a port that nobody listens on, and that nobody else was given.
func freePort(t *testing.T) string {
	t.Helper()
	for range portsTo - portsFrom {
		address := fmt.Sprintf("127.0.0.1:%d", portsFrom+rand.IntN(portsTo-portsFrom))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, taken := takenPorts.LoadOrStore(address, true); !taken {
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func newTrio(t *testing.T, names ...string) *trio { return newFleet(t, nil, names...) }

// newFleet is newTrio with flags of each node's own.
func newFleet(t *testing.T, flags map[string][]string, names ...string) *trio {
	c := emptyFleet(t, flags, names...)
	c.start(t)
	return c
}

// emptyFleet has directory and ports; nothing runs yet.
func emptyFleet(t *testing.T, flags map[string][]string, names ...string) *trio {
	c := &trio{dir: t.TempDir(), names: names, ports: map[string][4]string{}, nodes: map[string]*process{}, flags: flags}
	for _, n := range names {
		c.ports[n] = [4]string{freePort(t), freePort(t), freePort(t), freePort(t)}
	}
	return c
}

// start runs all nodes, the first of which makes the cluster, and waits for them.
func (c *trio) start(t *testing.T) {
	t.Helper()
	for i, n := range c.names {
		join := ""
		if i > 0 {
			join = c.ports[c.names[0]][1]
		}
		c.run(t, n, join)
	}
	for _, n := range c.names {
		c.await(t, n)
	}
}

// run starts a node and does not wait.
func (c *trio) run(t *testing.T, name, join string) {
	t.Helper()
	p := c.ports[name]
	args := []string{"serve", "--node-name", name, "--data-dir", filepath.Join(c.dir, name),
		"--http-addr", p[0], "--gossip-addr", p[1], "--rpc-addr", p[2], "--raft-addr", p[3], "--log-level", "warn", "--shutdown-grace", stopWithin}
	if join != "" {
		args = append(args, "--join", join)
	}
	args = append(args, c.flags[name]...)
	node := &process{output: &lockedBuffer{}, url: "http://" + p[0]}
	node.cmd = exec.Command(binary, args...)
	node.cmd.Env = append(os.Environ(), "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	node.cmd.Stdout, node.cmd.Stderr = node.output, node.output
	if err := node.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.kill)
	c.nodes[name] = node
}

// await waits until the node says that it is ready.
func (c *trio) await(t *testing.T, name string) {
	t.Helper()
	c.until(t, name+" ready", func(ctx context.Context) bool { return ready(ctx, c.nodes[name].url) })
}

func (c *trio) until(t *testing.T, what string, wanted func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !wanted(ctx) {
		select {
		case <-again.C:
		case <-ctx.Done():
			said := ""
			for n, p := range c.nodes {
				said += n + ":\n" + p.output.String()
			}
			t.Fatalf("%s never came:\n%s", what, said)
		}
	}
}

// clusterStatus is what the tests read of `parley cluster status --json`.
type clusterStatus struct {
	Nodes []struct {
		Name, State string
		Roles       []string
		Leads       int `json:"shards_led"`
		Holds       int `json:"shards_held"`
	}
	UnderReplicated int    `json:"under_replicated_shards"`
	Leaderless      int    `json:"leaderless_shards"`
	MaxLag          uint64 `json:"max_lag_entries"`
	Operations      []struct{ Kind string }
}

// cli runs the command line against a node.
func (c *trio) cli(ctx context.Context, node string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, binary, append(args, "--url", c.nodes[node].url)...)
	command.Env = append(os.Environ(), "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	return command.Output()
}

func (c *trio) status(ctx context.Context, node string) (s clusterStatus, err error) {
	out, err := c.cli(ctx, node, "cluster", "status", "--json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// healed waits until the cluster has that many nodes and every shard all its voters.
func (c *trio) healed(t *testing.T, node string, members int) {
	t.Helper()
	c.until(t, fmt.Sprintf("%d nodes with all voters", members), func(ctx context.Context) bool {
		s, err := c.status(ctx, node)
		return err == nil && len(s.Nodes) == members && s.UnderReplicated == 0 && len(s.Operations) == 0
	})
}

// TestThreeProcesses grows a cluster of three, sends from fifty clients that retry elsewhere, kills
// one node with SIGKILL in the middle, starts it again, and reads everything back from every node.
func TestThreeProcesses(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3")
	c.healed(t, "n2", 3)
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["n1"].url), http: &http.Client{Timeout: 10 * time.Second}}
	w.open(t, 5, 50)
	var kill sync.Once
	var killed sync.WaitGroup
	w.send(t, 60, func(acked int64) {
		if acked > 800 {
			kill.Do(func() { killed.Go(c.nodes["n3"].kill) })
		}
	})
	killed.Wait() // its directory and ports are free
	c.run(t, "n3", c.ports["n1"][1])
	c.await(t, "n3")
	c.healed(t, "n3", 3)
	for _, n := range c.names {
		w.check(t, n)
	}
	t.Logf("%d sends, %d attempts, longest %s", w.acked.Load(), len(w.history.Sends), time.Duration(w.longest.Load()))
	for _, n := range c.names {
		if code := c.nodes[n].terminate(); code != 0 {
			t.Errorf("%s: SIGTERM ended with exit code %d:\n%s", n, code, c.nodes[n].output)
		}
	}
}

// TestDrainRemoveUnderLoad adds a fourth node, and drains and removes the first while clients send.
func TestDrainRemoveUnderLoad(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3", "n4")
	c.healed(t, "n2", 4)
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["n2"].url), http: &http.Client{Timeout: 10 * time.Second}, nodes: []string{"n2", "n3", "n4"}}
	w.open(t, 5, 20)
	done := make(chan string, 1)
	var once sync.Once
	w.send(t, 150, func(acked int64) {
		if acked < 200 {
			return
		}
		once.Do(func() {
			go func() {
				for _, verb := range []string{"drain", "remove"} {
					out, err := c.cli(context.Background(), "n2", "node", verb, "n1", "--yes")
					if err != nil {
						done <- fmt.Sprintf("%s: %v %s", verb, err, out)
						return
					}
				}
				done <- ""
			}()
		})
	})
	if problem := <-done; problem != "" {
		t.Fatal(problem)
	}
	c.until(t, "the end of the removed process", func(context.Context) bool {
		return strings.Contains(c.nodes["n1"].output.String(), "removed")
	})
	_ = c.nodes["n1"].cmd.Wait()
	c.healed(t, "n3", 3)
	for _, n := range w.nodes {
		w.check(t, n)
	}
	t.Logf("%d sends, %d attempts, longest %s", w.acked.Load(), len(w.history.Sends), time.Duration(w.longest.Load()))
}

// crowd is clients that send to whichever node answers.
type crowd struct {
	cluster *trio
	app     application
	http    *http.Client
	nodes   []string // where they send; none = all
	convs   []string
	round   int // tells the client ids of later sends apart
	users   []*sender
	clock   atomic.Int64
	acked   atomic.Int64
	longest atomic.Int64 // of one send with its retries, ns

	mu      sync.Mutex // guards history
	history history.History
}

// open makes conversations and users through all nodes in turn.
func (w *crowd) open(t *testing.T, conversations, users int) {
	t.Helper()
	if len(w.nodes) == 0 {
		w.nodes = w.cluster.names
	}
	admin := caller{w.http, "", w.app.token(t, "")}
	for i := range conversations {
		var made struct{ ID string }
		admin.base = w.url(i)
		admin.must(t, http.MethodPost, "/v1/conversations", nil, http.StatusCreated, &made)
		w.convs = append(w.convs, made.ID)
	}
	for i := range users {
		s := &sender{user: fmt.Sprintf("user-%d", i), conversation: w.convs[i%conversations]}
		admin.base = w.url(i)
		admin.must(t, http.MethodPost, "/v1/users", map[string]any{"name": s.user}, http.StatusCreated, nil)
		s.caller = caller{w.http, w.url(i + 1), w.app.token(t, s.user)}
		s.must(t, http.MethodPost, "/v1/conversations/"+s.conversation+"/members",
			map[string]any{"state": "joined", "user": map[string]any{"name": s.user}, "channel": map[string]any{"type": "app"}},
			http.StatusCreated, nil)
		w.users = append(w.users, s)
	}
}

func (w *crowd) url(i int) string { return w.cluster.nodes[w.nodes[i%len(w.nodes)]].url }

// send lets every user send its events one after the other, each until it is acknowledged.
func (w *crowd) send(t *testing.T, each int, onAck func(acked int64)) {
	t.Helper()
	urls := make([]string, len(w.nodes))
	for i := range urls {
		urls[i] = w.url(i)
	}
	var all sync.WaitGroup
	for u, s := range w.users {
		all.Go(func() {
			for n := range each {
				began := time.Now()
				for try := 0; w.attempt(s, fmt.Sprintf("%d-%d", w.round, n), urls[(u+try)%len(urls)]) != history.Committed; try++ {
					if try == 200 {
						t.Errorf("%s: event %d was never acknowledged", s.user, n)
						return
					}
				}
				if took := int64(time.Since(began)); took > w.longest.Load() {
					w.longest.Store(took)
				}
				onAck(w.acked.Add(1))
			}
		})
	}
	all.Wait()
}

func (w *crowd) attempt(s *sender, clientID, url string) history.Outcome {
	if w.try(s, clientID, url) == nil {
		return history.Committed
	}
	return history.Unknown
}

// try sends once, and notes it in the history.
func (w *crowd) try(s *sender, clientID, url string) error {
	a := history.Send{Conversation: s.conversation, User: s.user, ClientID: clientID,
		Body: s.conversation + "/" + s.user + "/" + clientID, Began: w.clock.Add(1), Outcome: history.Unknown}
	via := s.caller
	via.base = url
	var made struct{ ID uint64 }
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := via.call(ctx, http.MethodPost, "/v1/conversations/"+s.conversation+"/events", clientID,
		map[string]any{"type": "text", "body": map[string]any{"text": a.Body}}, http.StatusCreated, &made)
	if err == nil {
		a.Outcome, a.Sequence = history.Committed, made.ID
	}
	a.Ended = w.clock.Add(1)
	w.mu.Lock()
	w.history.Sends = append(w.history.Sends, a)
	w.mu.Unlock()
	return err
}

// check reads everything through one node.
func (w *crowd) check(t *testing.T, node string) {
	t.Helper()
	w.history.Reads = nil
	for i, con := range w.convs {
		s := *w.users[i]
		s.base = w.cluster.nodes[node].url
		w.history.Reads = append(w.history.Reads, s.readAll(t, con))
	}
	if violations := history.Check(w.history); len(violations) > 0 {
		t.Fatalf("through %s: %d violations, first: %v", node, len(violations), violations[0])
	}
}
