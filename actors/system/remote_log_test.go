package system

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAStoppedNodeIsNoError: connections that end with a node stay out of the log, others do not, and
// nothing that users wrote gets into it.
func TestAStoppedNodeIsNoError(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(&discreet{slog.NewTextHandler(&out, nil)})
	log.Error("closing", "error", status.Error(codes.Canceled, "the client connection is closing"))
	log.Error("eof", "error", status.Error(codes.Unavailable, "EOF"))
	if out.Len() > 0 {
		t.Errorf("logged %s", &out)
	}
	log.Error("broken", "error", status.Error(codes.ResourceExhausted, "too large"), "message", "secret")
	log.Error("other", "error", errors.New("no such thing"))
	if text := out.String(); !strings.Contains(text, "too large") || !strings.Contains(text, "no such thing") || strings.Contains(text, "secret") {
		t.Errorf("logged %s", text)
	}
}
