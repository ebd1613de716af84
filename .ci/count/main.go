// Command count reads what test runs have written (go test -json, or TAP) and prints the output
// of failed tests and how many passed and failed. With -total it prints the closing line only.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output string
}

// tally counts one or several logs.
type tally struct {
	passed, failed int
	failures       map[string]bool     // packages with a failed test
	output         map[string][]string // by package and test
	out            io.Writer           // where the output of failed tests goes; nil = nowhere
}

func main() {
	total := flag.Bool("total", false, "print the closing line only")
	flag.Parse()
	t := &tally{failures: map[string]bool{}, output: map[string][]string{}}
	if !*total {
		t.out = os.Stdout
	}
	for _, name := range flag.Args() {
		if err := t.read(name); err != nil && !os.IsNotExist(err) {
			fmt.Fprintln(os.Stderr, err)
			t.failed++
		}
	}
	fmt.Printf("%d passed, %d failed\n", t.passed, t.failed)
	if t.failed > 0 || t.passed == 0 {
		os.Exit(1)
	}
}

func (t *tally) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	line := t.goLine
	if filepath.Ext(name) == ".tap" {
		line = t.tapLine
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line(lines.Text())
	}
	return lines.Err()
}

func (t *tally) tapLine(text string) {
	text = strings.TrimLeft(text, " ")
	switch {
	case strings.HasPrefix(text, "ok ") && !strings.Contains(text, "# SKIP"):
		t.passed++
	case strings.HasPrefix(text, "not ok "):
		t.failed++
	}
}

func (t *tally) goLine(text string) {
	var e event
	if json.Unmarshal([]byte(text), &e) != nil {
		return // make's own lines
	}
	key := e.Package + " " + e.Test
	switch {
	case e.Action == "output" || e.Action == "build-output":
		t.output[key] = append(t.output[key], e.Output)
	case e.Action == "pass":
		if e.Test != "" {
			t.passed++
		}
		delete(t.output, key)
	case e.Action == "fail" && (e.Test != "" || !t.failures[e.Package]):
		t.failed++ // a package that fails without a failed test did not build, or panicked
		t.failures[e.Package] = true
		t.show(e, key)
	}
}

func (t *tally) show(e event, key string) {
	if t.out == nil {
		return
	}
	fmt.Fprintf(t.out, "--- %s %s\n%s", e.Package, e.Test, strings.Join(t.output[key], ""))
	if e.Test == "" {
		for other, lines := range t.output { // the compiler's words have the import path as key
			if strings.HasPrefix(other, e.Package+" [") || other == " " {
				fmt.Fprint(t.out, strings.Join(lines, ""))
			}
		}
	}
}
