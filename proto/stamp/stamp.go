// Package stamp writes times as clients read them.
package stamp

import "time"

// Of is a time in Unix milliseconds as every generation of the API writes it: ISO 8601, in UTC, with three
// digits of a second. It is empty for 0, which stands for no time.
func Of(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
