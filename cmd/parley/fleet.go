package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/cmd/parley/client"
	"parley/cmd/parley/node"
	"parley/cmd/parley/settings"
	"parley/edge/admin"
)

const (
	fleetMax       = 9
	fleetStopAfter = 30 * time.Second // a process that has not stopped by then is killed
	fleetLookEvery = 200 * time.Millisecond
	fleetLog       = "node.log" // in the directory of each
)

// fleet is the further nodes of `parley dev --nodes`: each is a process of its own, whose log goes
// to a file beside its data.
type fleet struct {
	dirs   []string
	ended  chan string // one for each process: its directory, when it has ended
	cancel context.CancelFunc
	group  errgroup.Group
}

// startFleet starts count-1 further nodes, which join the first one at its gossip address.
func startFleet(t *terminal, first settings.Settings, join string, count int) (*fleet, error) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fleet{cancel: cancel, ended: make(chan string, fleetMax)}
	if count < 2 {
		return f, nil
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find this program: %w", err), f.Close())
	}
	for i := 2; i <= count; i++ {
		name := "node-" + strconv.Itoa(i)
		dir := filepath.Join(first.DataDir, name)
		command := exec.CommandContext(ctx, binary, fleetArgs(first, name, dir, join)...)
		command.Env = t.environ
		command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
		command.WaitDelay = fleetStopAfter
		// A Ctrl-C at the terminal reaches the first node alone, which then stops the others.
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := f.start(command, dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// fleetArgs start one of the further nodes. It has the first one's variables, and nothing of what they say of its own
// addresses and directory.
func fleetArgs(first settings.Settings, name, dir, join string) []string {
	return []string{"serve", "--" + parentFlag, strconv.Itoa(os.Getpid()),
		"--node-name", name, "--data-dir", dir, "--join", join,
		"--http-addr", anyPort, "--admin-addr", "", "--gossip-addr", anyPort, "--rpc-addr", anyPort, "--raft-addr", anyPort,
		"--log-level", first.LogLevel, "--webhook-allow", strings.Join(first.WebhookAllow, ",")}
}

func (f *fleet) start(command *exec.Cmd, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	// What an earlier run has left would be taken for the addresses of this one.
	if err := os.Remove(filepath.Join(dir, node.AddressesFile)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("forget the addresses of an earlier run: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, fleetLog))
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", dir, err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return errors.Join(fmt.Errorf("start another node: %w", err), log.Close())
	}
	f.dirs = append(f.dirs, dir)
	f.group.Go(func() error {
		_ = command.Wait() // its log says why it ended
		f.ended <- dir
		return log.Close()
	})
	return nil
}

// Close stops the processes and waits for them.
func (f *fleet) Close() error {
	f.cancel()
	return f.group.Wait()
}

// await shows the growth of the cluster until every shard has all its copies.
func (f *fleet) await(ctx context.Context, shown *display, url string, c node.Credentials) error {
	if len(f.dirs) == 0 {
		return nil
	}
	n, err := client.New(url)
	if err != nil {
		return err
	}
	defer n.Close()
	ticker := time.NewTicker(fleetLookEvery)
	defer ticker.Stop()
	defer shown.end()
	for {
		s := &admin.Status{}
		if err := n.Call(ctx, client.Basic(c.APIKey, c.APISecret), http.MethodGet, admin.Prefix+"status", nil, s); err == nil {
			line, grown := f.growth(s)
			shown.tell(line)
			if grown {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case dir := <-f.ended:
			log := filepath.Join(dir, fleetLog)
			return fmt.Errorf("a node has ended (%s): %s", log, lastWords(log))
		case <-ctx.Done():
			return fmt.Errorf("the nodes did not come together: %w", ctx.Err())
		}
	}
}

// lastWords are the end of a log, which goes with the directory if that is a temporary one.
func lastWords(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// growth says in a line how far the cluster has come, and whether it has come to its end.
func (f *fleet) growth(s *admin.Status) (line string, grown bool) {
	wanted, up := len(f.dirs)+1, 0
	for _, n := range s.Nodes {
		if n.State == "up" {
			up++
		}
	}
	line = fmt.Sprintf("%d of %d nodes, %d of %d shards have all their copies", up, wanted, s.Shards-s.UnderReplicatedShards, s.Shards)
	return line, up == wanted && s.UnderReplicatedShards == 0
}

// urls are where the further nodes listen for clients.
func (f *fleet) urls() (urls []string) {
	for _, dir := range f.dirs {
		text, err := os.ReadFile(filepath.Join(dir, node.AddressesFile))
		var a node.Addresses
		if err == nil && json.Unmarshal(text, &a) == nil {
			urls = append(urls, a.HTTPURL())
		}
	}
	return urls
}
