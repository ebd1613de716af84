package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheManualsCommandsExist reads every command that docs/operate prints, and finds it, with its flags and
// its number of arguments.
func TestTheManualsCommandsExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/operate/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatal(len(pages), err)
	}
	seen := map[string]bool{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line, printed := strings.CutPrefix(strings.TrimLeft(line, " "), "parley ")
			if !printed || !strings.HasPrefix(line, strings.TrimSpace(line)) {
				continue
			}
			line, _, _ = strings.Cut(line, "#")
			args := strings.Fields(strings.ReplaceAll(line, "…", ""))
			command, rest, err := newRoot(newShell(t).terminal()).Find(args)
			if err != nil {
				t.Errorf("%s: parley %s: %v", filepath.Base(page), line, err)
				continue
			}
			if err := command.ParseFlags(rest); err != nil {
				t.Errorf("%s: parley %s: %v", filepath.Base(page), line, err)
				continue
			}
			if command.Args != nil {
				if err := command.Args(command, command.Flags().Args()); err != nil {
					t.Errorf("%s: parley %s: %v", filepath.Base(page), line, err)
				}
			}
			seen[command.CommandPath()] = true
		}
	}
	for _, c := range []string{"parley serve", "parley dev", "parley cluster status", "parley cluster rebalance", "parley cluster unsafe-recover",
		"parley node drain", "parley node undrain", "parley node remove", "parley certs init", "parley certs issue", "parley certs rotate-gossip"} {
		if !seen[c] {
			t.Errorf("the manual does not show %s", c)
		}
	}
}
