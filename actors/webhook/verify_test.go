package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// verify says whether a request to a webhook is genuine and fresh. secret is "whsec_…", payload is the
// body as it came, or, of a GET, the query as it came.
func verify(secret string, header http.Header, payload []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	id, sent := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("too old, or from the future")
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id + "." + sent + "."))
	h.Write(payload)
	want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	for _, signature := range strings.Fields(header.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return nil
		}
	}
	return errors.New("not signed with this secret")
}

// TestDocumentedVerification: the code that users are told to copy is the code that the tests here
// verify every request with.
func TestDocumentedVerification(t *testing.T) {
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```go\n")
	documented, _, ok := strings.Cut(rest, "```\n")
	own, err := os.ReadFile("verify_test.go")
	if err != nil || !ok || !strings.Contains(string(own), documented) {
		t.Fatalf("docs/webhooks.md has other code than verify_test.go, %v", err)
	}
}
