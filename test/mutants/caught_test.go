//go:build mutants

package mutants

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var only = flag.String("mutant", "", "run those mutants alone whose name contains this")

// TestEveryMutantIsCaught runs the tests of one node with each fault of one.
func TestEveryMutantIsCaught(t *testing.T) {
	if output, err := simulate(t); err != nil {
		t.Fatalf("the tests fail without any mutant, so they tell nothing:\n%s", output)
	}
	each(t, single, func(t *testing.T, m mutant) {
		output, err := simulate(t, "-overlay", m.overlay(t))
		m.caught(t, output, err)
	})
}

// simulate runs the tests that are to notice, built with flags.
func simulate(t *testing.T, flags ...string) (string, error) {
	t.Helper()
	return goTest(t, append(flags, "-count=1", "./edge/hub", "./test/sim")...)
}

// TestEveryClusterMutantIsCaught runs each against simulated clusters, or the tests of the package it names.
func TestEveryClusterMutantIsCaught(t *testing.T) {
	each(t, clustered, func(t *testing.T, m mutant) {
		if m.by != "" {
			output, err := goTest(t, append([]string{"-overlay", m.overlay(t), "-count=1"}, strings.Fields(m.by)...)...)
			m.caught(t, output, err)
			return
		}
		binary := filepath.Join(t.TempDir(), "sim")
		if output, err := goTest(t, "-c", "-overlay", m.overlay(t), "-o", binary, "./test/sim/cluster"); err != nil {
			t.Fatalf("the mutant does not build: %v\n%s", err, output)
		}
		output, err := exec.Command(binary, "-test.run", "TestClusters", "-test.timeout", "15m", "-sim.seeds", "150").CombinedOutput()
		m.caught(t, string(output), err)
	})
}

func each(t *testing.T, mutants []mutant, run func(t *testing.T, m mutant)) {
	for _, m := range mutants {
		if strings.Contains(m.name, *only) {
			t.Run(m.name, func(t *testing.T) { run(t, m) })
		}
	}
}

// goTest is go test with arguments, at the module's root.
func goTest(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	test := exec.Command("go", append([]string{"test"}, arguments...)...)
	test.Dir = root(t)
	output, err := test.CombinedOutput()
	return string(output), err
}

// caught checks that tests with the mutant failed, and because of it: time that ran out tells nothing.
func (m mutant) caught(t *testing.T, output string, err error) {
	t.Helper()
	if err == nil || strings.Contains(output, "build failed") || strings.Contains(output, "test timed out") {
		t.Errorf("the tests pass with this mutant, it does not build, or they have no end:\n%s", output)
	}
	for line := range strings.Lines(output) {
		if strings.Contains(line, "violations") || strings.Contains(line, "panic:") || strings.Contains(line, "_test.go") {
			t.Logf("caught: %s", strings.TrimSpace(line))
			return
		}
	}
}
