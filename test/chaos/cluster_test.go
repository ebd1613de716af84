//go:build chaos && linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"parley/edge/admin"
)

// node is one machine: a network, a disk, and the process that runs there or has run there.
type node struct {
	name      string
	id        int
	home      *home // nil = the network of this program
	disk      *disk
	certs     string
	log       string // file, on no node's disk
	addresses [4]string
	url       string // for clients
	process   *exec.Cmd
	ended     chan struct{} // closed when the process has ended
}

// alive says whether the process runs, or is stopped but could go on.
func (n *node) alive() bool {
	if n.process == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process, by its id.
func (n *node) signal(s syscall.Signal) { _ = n.process.Process.Signal(s) }

// kill is what a power button does to a process.
func (n *node) kill() {
	if n.alive() {
		n.signal(syscall.SIGKILL)
		<-n.ended
	}
}

// hold stops the process and waits until none of its threads is within a system call. An fsync that
// runs while EXT4_IOC_SHUTDOWN is made may say that it succeeded although its record is gone; a disk
// that loses power never says so.
func (c *cluster) hold(n *node) {
	c.t.Helper()
	n.signal(syscall.SIGSTOP)
	c.until("every thread of "+n.name+" stopped", n.stopped)
}

// stopped says whether all threads of the process are stopped.
func (n *node) stopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.process.Process.Pid))
	return err == nil && !slices.ContainsFunc(threads, func(path string) bool {
		line, err := os.ReadFile(path)
		_, after, found := strings.Cut(string(line), ") ") // proc_pid_stat(5): the state follows the name
		return err == nil && (!found || !strings.HasPrefix(after, "T"))
	})
}

// lastWords is the end of the node's log.
func (n *node) lastWords() string {
	const lines = 25
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(l string) bool { return strings.Contains(l, "msg=request ") })
	return n.name + ":\n  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// said says whether the node's log contains text.
func (n *node) said(text string) bool {
	log, err := os.ReadFile(n.log)
	return err == nil && strings.Contains(string(log), text)
}

// cluster is machines side by side.
type cluster struct {
	t         *testing.T
	dir       string
	authority string
	network   *network
	nodes     map[string]*node
	names     []string
	extra     []string // arguments for every node
}

const diskSize = 2 << 30 // sparse

// newCluster starts that many nodes, n1 and so on, and waits until every shard has all its voters.
func newCluster(t *testing.T, count int, extra ...string) *cluster {
	t.Helper()
	c := bareCluster(t, extra...)
	for i := range count {
		n := c.add(i + 1)
		c.start(n)
		if i == 0 {
			c.ready(n)
		}
	}
	c.healed(count)
	return c
}

// bareCluster has no node yet.
func bareCluster(t *testing.T, extra ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), network: newNetwork(), nodes: map[string]*node{}, extra: extra}
	c.authority = filepath.Join(c.dir, "authority")
	c.must(run(binary, "certs", "init", c.authority))
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	if c.t.Failed() {
		for _, n := range c.nodes {
			c.t.Log(n.lastWords())
		}
	}
	c.network.heal()
	for _, n := range c.nodes {
		if n.alive() {
			_ = n.disk.thaw() // most are not frozen
			n.kill()
		}
	}
	err := c.network.close()
	for _, n := range c.nodes {
		err = errors.Join(err, n.home.close(), n.disk.close())
	}
	if err != nil {
		c.t.Errorf("tear down: %v", err)
	}
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func nodeName(id int) string { return fmt.Sprintf("n%d", id) }

// add makes a machine, without starting anything on it.
func (c *cluster) add(id int) *node {
	c.t.Helper()
	n := &node{name: nodeName(id), id: id}
	n.certs, n.log = filepath.Join(c.dir, n.name+"-certs"), filepath.Join(c.dir, n.name+".log")
	n.disk = &disk{dir: filepath.Join(c.dir, n.name)}
	if here.can(canMount) {
		n.disk.image = filepath.Join(c.dir, n.name+".image")
	}
	c.nodes[n.name] = n // from here on close tears it down
	c.must(n.disk.make(diskSize))
	c.must(run(binary, "certs", "issue", n.name, "--authority", c.authority, "--out", n.certs))
	hosts := [2]string{fmt.Sprintf("127.%d.0.%d", 1+os.Getpid()%250, id)}
	hosts[1] = hosts[0]
	if here.can(canIsolate) {
		var err error
		n.home, err = newHome()
		c.must(err)
		hosts, err = n.home.connect(c.network, id)
		c.must(err)
	}
	n.addresses = [4]string{hosts[0] + ":4280", hosts[1] + ":4281", hosts[1] + ":4282", hosts[1] + ":4283"}
	n.url = "http://" + n.addresses[0]
	c.names = append(c.names, n.name)
	return n
}

// data is the node's directory: a file system keeps its own things in the top.
func (n *node) data() string { return filepath.Join(n.disk.dir, "data") }

// start starts the node's process and does not wait. Every node but the first joins the first.
func (c *cluster) start(n *node) {
	c.t.Helper()
	if first := c.nodes[c.names[0]]; first != n {
		c.startJoining(n, first)
		return
	}
	c.startJoining(n, nil)
}

// startJoining starts the node's process: it joins another, or founds a cluster.
func (c *cluster) startJoining(n, other *node) {
	c.t.Helper()
	args := []string{"serve", "--node-name", n.name, "--data-dir", n.data(), "--certs-dir", n.certs, "--log-level", "info",
		"--http-addr", n.addresses[0], "--gossip-addr", n.addresses[1], "--rpc-addr", n.addresses[2], "--raft-addr", n.addresses[3]}
	if other != nil {
		args = append(args, "--join", other.addresses[1])
	}
	c.launch(n, append(args, c.extra...))
}

func (c *cluster) launch(n *node, args []string) {
	c.t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	c.must(err)
	defer log.Close()
	n.process = exec.Command(binary, args...)
	n.process.Env = append(os.Environ(), "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	n.process.Stdout, n.process.Stderr = log, log
	c.must(n.home.start(n.process))
	n.ended = make(chan struct{})
	go func(p *exec.Cmd, ended chan struct{}) { // ends with the process, which close kills
		_ = p.Wait()
		close(ended)
	}(n.process, n.ended)
}

// forget takes a machine out of the list; close still tears it down.
func (c *cluster) forget(n *node) {
	c.names = slices.DeleteFunc(c.names, func(name string) bool { return name == n.name })
}

// stop stops a node in order.
func (c *cluster) stop(n *node) {
	c.t.Helper()
	n.signal(syscall.SIGTERM)
	if code := c.exited(n); code != 0 {
		c.t.Errorf("%s: SIGTERM ended with exit code %d", n.name, code)
	}
}

// until asks again and again until the answer is yes. It fails the test after patience.
func (c *cluster) until(what string, yes func() bool) time.Duration {
	c.t.Helper()
	took, ok := within(patience, yes)
	if !ok {
		c.t.Fatalf("%s: not within %s", what, patience)
	}
	return took
}

// within asks again and again until the answer is yes or the time is over.
func within(limit time.Duration, yes func() bool) (time.Duration, bool) {
	began := time.Now()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !yes() {
		if time.Since(began) > limit {
			return limit, false
		}
		<-again.C
	}
	return time.Since(began), true
}

// ready waits until the node says that it serves.
func (c *cluster) ready(n *node) {
	c.t.Helper()
	c.until(n.name+" ready", func() bool { return get(n.url+"/readyz", nil) == nil })
}

// exited waits until the process has ended by itself and gives its exit code.
func (c *cluster) exited(n *node) int {
	c.t.Helper()
	select {
	case <-n.ended:
	case <-time.After(patience):
		c.t.Fatalf("%s has not ended within %s", n.name, patience)
	}
	return n.process.ProcessState.ExitCode()
}

// status asks one node what it thinks of the cluster.
func (c *cluster) status(n *node) (*admin.Status, error) {
	s := &admin.Status{}
	return s, get(n.url+admin.Prefix+"status", s)
}

// healed waits until there are that many members, all up, every shard has all its voters, every node
// leads something, and nothing is under way.
func (c *cluster) healed(members int) time.Duration {
	c.t.Helper()
	last := &admin.Status{}
	return c.until(fmt.Sprintf("%d nodes with all voters", members), func() bool {
		for _, name := range c.names {
			n := c.nodes[name]
			if !n.alive() {
				continue
			}
			s, err := c.status(n)
			if err != nil {
				return false
			}
			last = s
			break
		}
		return len(last.Nodes) == members && last.UnderReplicatedShards == 0 && len(last.Operations) == 0 && last.LeaderlessShards == 0 &&
			!slices.ContainsFunc(last.Nodes, func(n admin.Node) bool { return n.State != "up" })
	})
}

// leads gives the node that leads the most shards.
func (c *cluster) leader() *node {
	c.t.Helper()
	var most admin.Node
	c.until("a leader", func() bool {
		s, err := c.status(c.nodes[c.names[0]])
		if err != nil {
			return false
		}
		for _, n := range s.Nodes {
			if n.Leads > most.Leads {
				most = n
			}
		}
		return most.Leads > 0
	})
	return c.nodes[most.Name]
}

// others gives the addresses for clients of all running nodes but one.
func (c *cluster) others(but *node) (urls []string) {
	for _, name := range c.names {
		if n := c.nodes[name]; n != but && n.alive() {
			urls = append(urls, n.url)
		}
	}
	return urls
}

// operator runs a command of the operator against a node.
func (c *cluster) operator(at *node, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, binary, append(args, "--url", at.url)...)
	command.Env = append(os.Environ(), "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("parley %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
