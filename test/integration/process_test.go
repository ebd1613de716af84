//go:build integration

// Package integration runs real parley processes on 127.0.0.1 with real disks, kills them, and
// checks what clients saw. It ends only processes that it started, by id.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	apiKey    = "integration"
	apiSecret = "integration-secret"

	// startWithin bounds how long a node may take to serve. Generous: it is a bound, not a measurement.
	startWithin = 60 * time.Second

	// stopWithin is how long a node may take to stop. A stop in order takes a few seconds; a busy machine needs more.
	stopWithin = "30s"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "parley-integration-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "parley")
	build := exec.Command("go", "build", "-o", binary, "parley/cmd/parley")
	build.Stderr = os.Stderr
	status := 1
	if err := build.Run(); err == nil {
		status = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// process is one running parley node.
type process struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	url    string
}

// lockedBuffer collects a process's output for the test's failure message.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a node on dir and returns when it serves.
func start(t *testing.T, dir string) *process {
	t.Helper()
	addresses := filepath.Join(dir, "addresses.json")
	if err := os.Remove(addresses); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	any := "127.0.0.1:0"
	p := &process{output: &lockedBuffer{}}
	p.cmd = exec.Command(binary, "serve", "--data-dir", dir, "--http-addr", any, "--gossip-addr", any,
		"--rpc-addr", any, "--raft-addr", any, "--node-name", "n1", "--shutdown-grace", stopWithin)
	p.cmd.Env = append(os.Environ(), "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	if err := p.waitReady(addresses); err != nil {
		p.kill()
		t.Fatalf("%v; the process said:\n%s", err, p.output)
	}
	return p
}

// waitReady asks until /readyz says 200, the process has ended, or startWithin has passed.
func (p *process) waitReady(addresses string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if url, ok := httpURL(addresses); ok && ready(ctx, url) {
			p.url = url
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s", startWithin)
		}
	}
}

func httpURL(addresses string) (string, bool) {
	raw, err := os.ReadFile(addresses)
	if err != nil {
		return "", false
	}
	var a struct {
		HTTP string `json:"http"`
	}
	if json.Unmarshal(raw, &a) != nil || a.HTTP == "" {
		return "", false
	}
	return "http://" + a.HTTP, true
}

func ready(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// kill ends the process as a power button would: SIGKILL, no chance to flush.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// terminate asks the process to stop and gives its exit code.
func (p *process) terminate() int {
	p.end(syscall.SIGTERM)
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) end(s syscall.Signal) {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(s)
	_ = p.cmd.Wait()
}
