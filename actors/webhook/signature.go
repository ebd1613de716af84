package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	eventv1 "parley/proto/event/v1"
)

// Requests are signed as Standard Webhooks says (https://www.standardwebhooks.com, version 1), for
// which there are libraries in most languages.

// PreviousFor is how long the previous secret signs too after a rotation.
const PreviousFor = 24 * time.Hour

const (
	secretBytes  = 32
	secretPrefix = "whsec_"
)

// Rotated gives the secrets that follow old, with a new current one; old may be nil.
func Rotated(old *eventv1.WebhookSecrets, now time.Time) *eventv1.WebhookSecrets {
	next := &eventv1.WebhookSecrets{Current: make([]byte, secretBytes), Previous: old.GetCurrent(), RotatedMs: now.UnixMilli()}
	rand.Read(next.Current) // ends the process rather than fail
	return next
}

// SecretText is the form in which a secret is told to its owner.
func SecretText(secret []byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

// signatures are the value of the header webhook-signature for a payload sent at a time under an
// id; empty when there is no secret.
func signatures(s *eventv1.WebhookSecrets, id string, at time.Time, payload []byte) string {
	if len(s.GetCurrent()) == 0 {
		return ""
	}
	list := []string{sign(s.Current, id, at, payload)}
	if len(s.Previous) > 0 && at.Sub(time.UnixMilli(s.RotatedMs)) < PreviousFor {
		list = append(list, sign(s.Previous, id, at, payload))
	}
	return strings.Join(list, " ")
}

func sign(secret []byte, id string, at time.Time, payload []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	h.Write(payload)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}
