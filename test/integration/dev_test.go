//go:build integration

package integration

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestDevEndsAsAWhole: the further nodes of `parley dev --nodes` end with the first one, also when its
// terminal is closed or it is killed; in order, it takes its temporary directory with it.
func TestDevEndsAsAWhole(t *testing.T) {
	// A program that ignores SIGHUP, as under nohup, hands that on. What it handles it does not.
	ours := make(chan os.Signal, 1)
	signal.Notify(ours, syscall.SIGHUP)
	defer signal.Stop(ours)
	for _, how := range []syscall.Signal{syscall.SIGHUP, syscall.SIGKILL} {
		t.Run(how.String(), func(t *testing.T) {
			scratch := t.TempDir()
			cmd := exec.Command(binary, "dev", "--nodes", "3", "--json", "--http-addr", "127.0.0.1:0")
			cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
			cmd.Stderr = &lockedBuffer{}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(2*startWithin, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			var shown struct {
				Others []string `json:"other_urls"`
			}
			if err := json.NewDecoder(out).Decode(&shown); err != nil || len(shown.Others) != 2 {
				t.Fatalf("%v, %+v: %s", err, shown, cmd.Stderr)
			}
			if err := cmd.Process.Signal(how); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for deadline := time.Now().Add(startWithin); ; <-again.C {
				if !anyServes(shown.Others) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("another node still serves")
				}
			}
			if left, err := os.ReadDir(scratch); how == syscall.SIGHUP && (err != nil || len(left) != 0) {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// anyServes says whether somebody listens at one of the urls.
func anyServes(urls []string) bool {
	for _, url := range urls {
		if answer, err := http.Get(url + "/readyz"); err == nil {
			_ = answer.Body.Close()
			return true
		}
	}
	return false
}
