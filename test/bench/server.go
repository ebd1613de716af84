package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/internal/load"
	"parley/test/bench/meter"
)

// server is a process under load.
type server struct {
	name   string
	cmd    *exec.Cmd
	target load.Target
}

// start runs a server until stop.
func (b *bench) start(ctx context.Context, name string) (*server, error) {
	if name == "baseline" {
		cmd := exec.CommandContext(ctx, filepath.Join(b.dir, "baseline"))
		line, err := firstOutput(cmd, func(r *bufio.Reader) (string, error) { return r.ReadString('\n') })
		return &server{name: name, cmd: cmd, target: &plain{address: strings.TrimSpace(line)}}, err
	}
	cmd := exec.CommandContext(ctx, b.parley, "dev", "--json", "--http-addr", "127.0.0.1:0")
	text, err := firstOutput(cmd, oneObject)
	if err != nil {
		return nil, err
	}
	target, err := parleyTarget([]byte(text))
	return &server{name: name, cmd: cmd, target: target}, err
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

// prepared is a target whose Prepare was called before.
type prepared struct{ load.Target }

func (prepared) Prepare(context.Context, int, int) error { return nil }

// settledMemory waits for the server's collector, and reads its PSS in KB.
func (s *server) settledMemory(ctx context.Context) (int, error) {
	const quiet = 30 * time.Second // Go collects at least every two minutes, and returns memory in the background
	if err := pause(ctx, quiet); err != nil {
		return 0, err
	}
	return meter.PSS(s.cmd.Process.Pid)
}

// cpu is the processor time that the server has used so far.
func (s *server) cpu() (time.Duration, error) { return meter.CPU(s.cmd.Process.Pid) }
