//go:build chaos && linux

package chaos

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var (
	long   = flag.Bool("chaos.long", false, "the long run: as often and for as long as docs/reliability.md says")
	report = flag.String("chaos.report", "", "also append the figures to this file, as rows of a table")
	given  = flag.String("chaos.binary", "", "the parley to test; built from this tree if empty")
	rounds = flag.Int("chaos.rounds", 0, "how often each fault is made; 0 = twice in the short run, 100 times in the long one")
)

const (
	apiKey    = "chaos"
	apiSecret = "chaos-secret"

	// patience bounds every wait for something that must come. It is a bound, not a measurement:
	// the machine may be slow and busy.
	patience = 90 * time.Second

	// insideVariable says to a copy of this program that it lives in its own namespaces, and where
	// the binary under test is.
	insideVariable = "PARLEY_CHAOS_INSIDE"
)

var (
	binary string  // the parley under test
	here   machine // what can be done on this machine
	told   figures // what was measured
)

// TestMain builds parley and runs the tests in a copy of this program that has a network and a
// mount table of its own: whatever is left when it ends, however it ends, goes with it.
func TestMain(m *testing.M) {
	flag.Parse()
	if inside := os.Getenv(insideVariable); inside != "" {
		os.Exit(runInside(m, inside))
	}
	status, err := runOutside(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		status = 1
	}
	os.Exit(status)
}

func runOutside(m *testing.M) (status int, err error) {
	dir, err := os.MkdirTemp("", "parley-chaos-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := *given
	if path == "" {
		path = filepath.Join(dir, "parley")
		build := exec.Command("go", "build", "-o", path, "parley/cmd/parley")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return 1, fmt.Errorf("build parley: %w", err)
		}
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), insideVariable+"="+path)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := again.Start(); errors.Is(err, syscall.EPERM) {
		for _, a := range []string{canIsolate, canSwitch, canMount, canCut, canFreeze} {
			here.lack(a, err)
		}
		binary = path
		return m.Run() + told.print(), nil
	} else if err != nil {
		return 1, err
	}
	if err := again.Wait(); again.ProcessState == nil {
		return 1, err
	}
	return again.ProcessState.ExitCode(), nil
}

func runInside(m *testing.M, path string) int {
	binary = path
	here = probe()
	return m.Run() + told.print()
}

// times says how often a fault is made.
func times() int {
	switch {
	case *rounds > 0:
		return *rounds
	case *long:
		return 100
	default:
		return 2
	}
}
