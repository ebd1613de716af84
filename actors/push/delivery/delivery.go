// Package delivery is one attempt to bring a notification to one device: what is brought, over which
// connections, and in which ways it can fail.
package delivery

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"parley/internal/retryafter"
)

// Notification is what a device is told. It is rendered for the device's platform, and fits into what
// that platform carries.
type Notification struct {
	// Payload is the JSON object that clients find under "nexmo".
	Payload []byte
	// Event is the shorter object that the first Android clients find under "event"; other platforms
	// do not carry it.
	Event []byte
	// Immediate wakes a sleeping device; otherwise the device may wait for a better moment.
	Immediate bool
	// CollapseID is the same in every attempt to bring the same event to the same user, so that a
	// provider which still has an earlier one keeps only one. At most 32 characters of base64url.
	CollapseID string
	// Expires is when the provider may give up on a device that is switched off.
	Expires time.Time
}

// Bounds of Notification.Payload and Event, in bytes: what the platforms carry, less what goes round it.
const (
	// PayloadMax is for Apple's service (4,096 with aps) and Web Push (3,993 in one encrypted record).
	PayloadMax = 3900
	// AndroidMax bounds Payload and Event together (4,096 with their names).
	AndroidMax = 4000
)

// Verdict says what a failure means for the attempts that follow.
type Verdict int

// The verdicts.
const (
	// Retry: the provider is busy, failed, or was not reached; the same may pass later.
	Retry Verdict = iota + 1
	// Dead: the token is not good any more, and never will be again.
	Dead
	// Refused: the provider will never take this notification; others of the device it may.
	Refused
	// Unauthorized: the credential is not good; nothing passes until it is replaced.
	Unauthorized
)

// String is the verdict in logs and metrics.
func (v Verdict) String() string {
	switch v {
	case Retry:
		return "retry"
	case Dead:
		return "dead"
	case Refused:
		return "refused"
	default:
		return "unauthorized"
	}
}

// Failure is the error of an attempt. Reason is the provider's own word or one of ours; it holds no
// token, key or payload.
type Failure struct {
	Verdict    Verdict
	Reason     string
	RetryAfter time.Duration // of Retry: what the provider asks for, 0 = nothing
	NoHost     bool          // of Retry: the name of the host does not exist
}

// Fail makes a Failure.
func Fail(v Verdict, format string, args ...any) *Failure {
	return &Failure{Verdict: v, Reason: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (f *Failure) Error() string { return f.Verdict.String() + ": " + f.Reason }

// FailureOf is the failure in err; nil for none. What nobody classified may pass later.
func FailureOf(err error) *Failure {
	var f *Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	default:
		return Fail(Retry, "%v", err)
	}
}

// retryAfterMax bounds what a provider may ask for.
const retryAfterMax = time.Hour

// Later is the Retry of an answer that says so by its status, with its Retry-After.
func Later(status int, header http.Header, now time.Time) *Failure {
	f := Fail(Retry, "status %d", status)
	f.RetryAfter = retryafter.Read(header, now, retryAfterMax)
	return f
}

// Busy says whether a status asks to come later.
func Busy(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
}
