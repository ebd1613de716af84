package runtime

import (
	"errors"
	"testing"

	"parley/proto/code"
)

// TestWhoHasTheSession: the node that has it decides; nodes that do not know the question have none,
// and a node that did not answer leaves it open.
func TestWhoHasTheSession(t *testing.T) {
	missing, old, away := errNoSession(), code.New(code.NotAvailable, "old"), code.New(code.Unavailable, "away")
	expired, lost := code.New(code.ExpiredToken, "expired"), errors.New("connection lost")
	for name, tc := range map[string]struct {
		answers []error
		want    code.Code
	}{
		"nobody is asked":      {nil, code.SessionNotFound},
		"nobody has it":        {[]error{missing, old, missing}, code.SessionNotFound},
		"one has it":           {[]error{missing, nil, away, lost}, ""},
		"one refuses":          {[]error{missing, expired, away}, code.ExpiredToken},
		"one did not answer":   {[]error{missing, away, missing}, code.Unavailable},
		"one lost the request": {[]error{lost, missing}, code.Unavailable},
	} {
		err := renewed(tc.answers)
		if e, _ := code.Of(err); (err == nil) != (tc.want == "") || err != nil && e.Code != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
