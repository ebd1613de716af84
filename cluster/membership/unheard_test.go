package membership

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// record is a log that a test reads while it is written.
type record struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (r *record) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(line))
	return len(line), nil
}

// about gives the lines that have text.
func (r *record) about(text string) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestWhyNobodyAnswersIsTold where the operator looks, which is the log of the node that waits; and not at each of
// its attempts.
func TestWhyNobodyAnswersIsTold(t *testing.T) {
	key := func(b byte) setting {
		return func(o *Options) { o.Keys = [][]byte{bytes.Repeat([]byte{b}, 32)} }
	}
	var told record
	a := open(t, "n1", key(1))
	b := open(t, "n2", key(2), join(a), func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&told, nil)) })
	const attempts = 20
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); testutil.ToFloat64(b.metrics.joins.WithLabelValues("failed")) < attempts; <-tick.C {
		if time.Since(began) > time.Minute {
			t.Fatal("it does not try to join")
		}
	}
	lines := told.about("nodes to join do not answer")
	if len(lines) == 0 || len(lines) >= attempts/2 {
		t.Errorf("%d attempts, %d lines", attempts, len(lines))
	}
	for _, line := range lines {
		if !strings.Contains(line, "level=WARN") || !strings.Contains(line, a.Addr()) || strings.Contains(line, `\n`) {
			t.Errorf("told: %s", line)
		}
	}
}
