//go:build chaos && linux

package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The abilities that a machine may lack.
const (
	canIsolate = "network namespaces" // a network of its own for each node
	canSwitch  = "node network"       // a switch between the nodes that can cut, delay and lose
	canMount   = "mounts"             // a file system of its own for each node
	canCut     = "power cut"          // a file system that loses what was not synced
	canFreeze  = "frozen file system" // a file system that stops
)

// machine is what can be done here, and why the rest cannot.
type machine struct {
	missing map[string]error
	left    []string // what was not run
}

func (m *machine) lack(ability string, why error) {
	if m.missing == nil {
		m.missing = map[string]error{}
	}
	if m.missing[ability] == nil {
		m.missing[ability] = why
	}
}

func (m *machine) can(ability string) bool { return m.missing[ability] == nil }

// need leaves the test out, by name, if the machine lacks one of the abilities.
func need(t *testing.T, fault string, abilities ...string) {
	t.Helper()
	for _, a := range abilities {
		if why := here.missing[a]; why != nil {
			here.left = append(here.left, fmt.Sprintf("%s: no %s (%v)", fault, a, why))
			t.Skipf("not available here: %s: no %s (%v)", fault, a, why)
		}
	}
}

// probe tries each ability once. It runs inside the namespaces of this program.
func probe() machine {
	var m machine
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		m.lack(canMount, err)
	}
	if err := run("ip", "link", "set", "lo", "up"); err != nil {
		m.lack(canIsolate, err)
	}
	if err := probeNetwork(); err != nil {
		m.lack(canIsolate, err)
		m.lack(canSwitch, err)
	}
	if err := probeDisk(&m); err != nil {
		m.lack(canMount, err)
	}
	if !m.can(canMount) {
		m.lack(canCut, m.missing[canMount])
		m.lack(canFreeze, m.missing[canMount])
	}
	return m
}

func probeNetwork() error {
	n := newNetwork()
	h, err := newHome()
	if err != nil {
		return err
	}
	_, err = h.connect(n, 200)
	return errors.Join(err, n.close(), h.close())
}

func probeDisk(m *machine) (err error) {
	dir, err := os.MkdirTemp("", "parley-chaos-probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &disk{image: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mounted")}
	if err := d.make(64 << 20); err != nil {
		return err
	}
	if err := errors.Join(d.freeze(), d.thaw()); err != nil {
		m.lack(canFreeze, err)
	}
	if err := errors.Join(d.cut(), d.remount()); err != nil {
		m.lack(canCut, err)
	}
	return d.close()
}

// run runs a command to its end; its output is part of the error.
func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
