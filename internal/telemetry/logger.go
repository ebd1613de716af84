package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Format is how log lines are written.
type Format string

// The formats of log lines.
const (
	FormatText Format = "text" // key=value, for a terminal
	FormatJSON Format = "json" // one object a line, for a collector
)

// redacted stands where a secret would have been.
const redacted = "[redacted]"

// secretKeys are attribute names whose values are never written, whoever logs them. It is the
// second fence: callers do not log such values in the first place.
var secretKeys = []string{"token", "secret", "api_secret", "private_key", "authorization", "body", "password"}

// LogOptions say what is logged and how.
type LogOptions struct {
	Level  slog.Level // the lowest level that is written
	Format Format
}

// DefaultLogOptions logs from Info as text.
func DefaultLogOptions() LogOptions { return LogOptions{Level: slog.LevelInfo, Format: FormatText} }

// Validate says whether the options can be used.
func (o LogOptions) Validate() error {
	if o.Format != FormatText && o.Format != FormatJSON {
		return fmt.Errorf("log format %q: must be %s or %s", o.Format, FormatText, FormatJSON)
	}
	return nil
}

// NewLogger writes to w, which must be safe for concurrent use or used by this logger alone.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	handler := &slog.HandlerOptions{Level: o.Level, ReplaceAttr: written}
	if o.Format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, handler)), nil
	}
	return slog.New(slog.NewTextHandler(w, handler)), nil
}

// ParseLevel reads debug, info, warn or error in any case.
func ParseLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return l, fmt.Errorf("log level %q: must be debug, info, warn or error", s)
	}
	return l, nil
}

// written is an attribute as it is written: without a secret, and a duration with its unit in either format.
func written(_ []string, a slog.Attr) slog.Attr {
	switch {
	case slices.Contains(secretKeys, strings.ToLower(a.Key)):
		return slog.String(a.Key, redacted)
	case a.Value.Kind() == slog.KindDuration: // JSON would have nanoseconds
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}
