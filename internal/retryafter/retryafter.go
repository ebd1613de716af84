// Package retryafter reads and writes the HTTP header of that name (RFC 9110, section 10.2.3).
package retryafter

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const name = "Retry-After"

// Read is how long a server asks to be left alone, in seconds or until a date: at most longest, and 0 for
// no header, for nonsense, and for what is past at the time now.
func Read(h http.Header, now time.Time, longest time.Duration) time.Duration {
	text := strings.TrimSpace(h.Get(name))
	seconds, err := strconv.ParseUint(text, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range it is the largest there is
		return time.Duration(min(seconds, uint64(longest/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), longest)
	}
	return 0
}

// Write asks a client to come back after wait, in whole seconds and not before it is over.
func Write(h http.Header, wait time.Duration) {
	h.Set(name, strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}
