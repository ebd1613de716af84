package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/cmd/parley/client"
	"parley/edge/admin"
	"parley/internal/load"
	"parley/test/bench/meter"
)

// nodes is a cluster of real processes on this machine, each with a directory of its own.
type nodes struct {
	dir      string
	command  []string // what runs a node, before its arguments
	commands []*exec.Cmd
	urls     []string
	operator client.Authorization
}

// settleWithin bounds how long a cluster may take until every shard has all its replicas.
const settleWithin = 3 * time.Minute

// startNodes runs count nodes of one cluster with so many shards, and waits until all of it is
// replicated. The words of within, if any, are the command that runs each node.
func (b *bench) startNodes(ctx context.Context, count, shards int, within ...string) (_ *nodes, err error) {
	c := &nodes{command: append(slices.Clip(within), b.parley)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	if c.dir, err = os.MkdirTemp(b.dir, "nodes-"); err != nil {
		return nil, err
	}
	gossip, err := freePort() // the others must be told it before it is taken
	if err != nil {
		return nil, err
	}
	for i := range count {
		if err := c.start(ctx, i, gossip, shards); err != nil {
			return nil, err
		}
	}
	return c, c.settle(ctx)
}

// freePort is an address that nobody listens on at the moment.
func freePort() (string, error) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

const anyPort = "127.0.0.1:0"

// start runs the next node; it returns once that serves.
func (c *nodes) start(ctx context.Context, i int, gossip string, shards int) error {
	name := "n" + strconv.Itoa(i+1)
	args := []string{"serve", "--json", "--log-level", "warn", "--node-name", name, "--data-dir", filepath.Join(c.dir, name),
		"--http-addr", anyPort, "--rpc-addr", anyPort, "--raft-addr", anyPort, "--shards", strconv.Itoa(shards)}
	if i == 0 {
		args = append(args, "--gossip-addr", gossip)
	} else {
		args = append(args, "--gossip-addr", anyPort, "--join", gossip)
	}
	args = append(slices.Clip(c.command[1:]), args...)
	cmd := exec.CommandContext(ctx, c.command[0], args...)
	text, err := firstOutput(cmd, oneObject)
	if cmd.Process != nil {
		c.commands = append(c.commands, cmd)
	}
	if err != nil {
		return fmt.Errorf("start node %s: %w", name, err)
	}
	var said struct {
		URL    string `json:"http_url"`
		Key    string `json:"api_key"` // of the first node alone
		Secret string `json:"api_secret"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return fmt.Errorf("start node %s: %w", name, err)
	}
	c.urls = append(c.urls, said.URL)
	if i == 0 {
		c.operator = client.Basic(said.Key, said.Secret)
	}
	return nil
}

// oneObject reads one JSON object.
func oneObject(r *bufio.Reader) (string, error) {
	var o json.RawMessage
	err := json.NewDecoder(r).Decode(&o)
	return string(o), err
}

// settle waits until all nodes are members and nothing is under way.
func (c *nodes) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	node, err := client.New(c.urls[0])
	if err != nil {
		return err
	}
	defer node.Close()
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	for {
		var s admin.Status
		err := node.Call(ctx, c.operator, http.MethodGet, admin.Prefix+"status", nil, &s)
		if err == nil && len(s.Nodes) == len(c.urls) && s.UnderReplicatedShards == 0 && len(s.Operations) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster did not settle: %w", errors.Join(ctx.Err(), err))
		case <-again.C:
		}
	}
}

// target is the cluster under load, with an application of its own; connections are spread over all nodes.
func (c *nodes) target(ctx context.Context) (load.Target, error) {
	node, err := client.New(c.urls[0])
	if err != nil {
		return nil, err
	}
	defer node.Close()
	var made struct {
		ID   string
		Keys struct {
			Private string `json:"private_key"`
		}
	}
	if err := node.Call(ctx, c.operator, http.MethodPost, "/v2/applications", map[string]any{"name": "bench"}, &made); err != nil {
		return nil, err
	}
	key, err := client.ParseKey(made.Keys.Private)
	if err != nil {
		return nil, err
	}
	return &spread{Parley: &load.Parley{URL: c.urls[0], Application: made.ID, Key: key, HTTP: http.DefaultClient}, urls: c.urls}, nil
}

// spread is a target whose members connect to the nodes in turn.
type spread struct {
	*load.Parley
	urls []string
}

// Open implements load.Target.
func (s *spread) Open(ctx context.Context, room, member int) (*load.Conn, error) {
	return s.at(member).Open(ctx, room, member)
}

// at is the target by the node of a member.
func (s *spread) at(member int) *load.Parley {
	there := *s.Parley
	there.URL = s.urls[member%len(s.urls)]
	return &there
}

// cpu is what all processes have used so far.
func (c *nodes) cpu() (all time.Duration, err error) {
	for _, cmd := range c.commands {
		used, err := meter.CPU(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

// stop ends all processes, all at once so that none moves its shards to another, and drops their data.
func (c *nodes) stop() error {
	var g errgroup.Group
	for _, cmd := range c.commands {
		g.Go(func() error {
			_ = cmd.Process.Kill() // one that has ended by itself has said why
			_ = cmd.Wait()
			return nil
		})
	}
	return errors.Join(g.Wait(), os.RemoveAll(c.dir))
}
