package store

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLogger carries Pebble's own words into slog.
type pebbleLogger struct {
	dir    string
	halter halter
	logger *slog.Logger
}

// Infof implements pebble.Logger.
func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug("pebble", "text", fmt.Sprintf(format, args...))
}

// Errorf implements pebble.Logger.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Error("pebble", "text", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. It never returns: after a Fatalf that returned, the commit
// that failed would wait for ever, or worse, would be answered.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.halter.halt(fmt.Errorf("%s: %s", l.dir, fmt.Sprintf(format, args...)))
}

// listener turns Pebble's events into metrics, and those that an operator should see into log
// lines. Pebble calls it with locks held: nothing here calls back.
func (s *Store) listener(h *half) *pebble.EventListener {
	m := s.metrics.of(h.name)
	var stalledAt time.Time // WriteStallBegin and WriteStallEnd alternate, under Pebble's mutex
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			m.backgroundErrors.Inc()
			if errors.Is(err, pebble.ErrCancelledCompaction) {
				return
			}
			if pebble.IsCorruptionError(err) {
				_ = s.note(h, err) // kept for Damage; nobody waits for a background job
				return
			}
			s.logger.Error("background work failed", "pebble", h.name, "err", err)
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			_ = s.note(h, &DamageError{Dir: h.dir, Err: fmt.Errorf("%s: %w", i.Path, i.Details)})
		},
		DiskSlow: func(i pebble.DiskSlowInfo) {
			m.diskSlow.Inc()
			s.logger.Warn("disk is slow", "pebble", h.name, "path", i.Path,
				"operation", i.OpType.String(), "took", i.Duration)
		},
		FlushEnd: func(i pebble.FlushInfo) {
			m.flushSeconds.Observe(i.TotalDuration.Seconds())
			m.flushBytes.Add(float64(i.InputBytes))
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			m.compactionSeconds.Observe(i.TotalDuration.Seconds())
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			stalledAt = time.Now()
			m.stalls.Inc()
			s.logger.Warn("writes are stalled", "pebble", h.name, "reason", i.Reason)
		},
		WriteStallEnd: func() {
			m.stallSeconds.Add(time.Since(stalledAt).Seconds())
		},
	}
}
