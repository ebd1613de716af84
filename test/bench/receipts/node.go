package main

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/internal/load"
)

// node is a process under load.
type node struct {
	cmd    *exec.Cmd
	target *load.Parley
}

func startNode(ctx context.Context, binary string) (*node, error) {
	cmd := exec.CommandContext(ctx, binary, "dev", "--json", "--http-addr", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var dev struct {
		URL         string `json:"http_url"`
		Application string `json:"application_id"`
		KeyFile     string `json:"private_key_file"`
	}
	if err := json.NewDecoder(out).Decode(&dev); err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	pem, err := os.ReadFile(dev.KeyFile)
	if err != nil {
		return nil, err
	}
	var key *rsa.PrivateKey
	if key, err = jwt.ParseRSAPrivateKeyFromPEM(pem); err != nil {
		return nil, err
	}
	return &node{cmd, &load.Parley{URL: dev.URL, Application: dev.Application, Key: key, HTTP: http.DefaultClient}}, nil
}

// spent is the processor time of a process so far (proc(5), /proc/pid/stat: utime and stime).
func spent(p *os.Process) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold spaces
	const state, utime, stime, ticks = 3, 14, 15, 100
	fields := strings.Fields(rest)
	if len(fields) <= stime-state {
		return 0, fmt.Errorf("read %q", stat)
	}
	user, err := strconv.ParseInt(fields[utime-state], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime-state], 10, 64)
	return time.Duration(user+system) * time.Second / ticks, errors.Join(err, err2)
}

func (n *node) stop() error {
	if err := n.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return n.cmd.Wait()
}
