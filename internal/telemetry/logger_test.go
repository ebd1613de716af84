package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLoggerRedactsSecrets(t *testing.T) {
	for _, format := range []Format{FormatText, FormatJSON} {
		for _, key := range append([]string{"Token", "API_SECRET"}, secretKeys...) {
			var out bytes.Buffer
			log, err := NewLogger(&out, LogOptions{Level: slog.LevelInfo, Format: format})
			if err != nil {
				t.Fatal(err)
			}
			log.Info("hello", key, "hunter2", slog.Group("request", key, "hunter2"), "port", 4190)
			if strings.Contains(out.String(), "hunter2") {
				t.Errorf("%s: %s was written: %s", format, key, out.String())
			}
			if !strings.Contains(out.String(), "4190") {
				t.Errorf("%s: harmless attribute lost: %s", format, out.String())
			}
		}
	}
}

// TestDurationsAreWrittenWithTheirUnit: a number alone would be nanoseconds, and nobody could tell.
func TestDurationsAreWrittenWithTheirUnit(t *testing.T) {
	for format, want := range map[Format]string{FormatText: "grace=1m30s", FormatJSON: `"grace":"1m30s"`} {
		var out bytes.Buffer
		log, err := NewLogger(&out, LogOptions{Level: slog.LevelInfo, Format: format})
		if err != nil {
			t.Fatal(err)
		}
		log.Info("stopping", "grace", 90*time.Second)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %q is not in %s", format, want, out.String())
		}
	}
}

func TestLoggerLevel(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, LogOptions{Level: slog.LevelWarn, Format: FormatText})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("level warn wrote %q", got)
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]slog.Level{"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(in); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := ParseLevel("loud"); err == nil || !strings.Contains(err.Error(), "loud") {
		t.Errorf("ParseLevel(loud) = %v; want an error that names it", err)
	}
}

func TestLogOptionsRefuseUnknownFormat(t *testing.T) {
	if _, err := NewLogger(&bytes.Buffer{}, LogOptions{Format: "xml"}); err == nil {
		t.Error("format xml was accepted")
	}
	if err := DefaultLogOptions().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}
