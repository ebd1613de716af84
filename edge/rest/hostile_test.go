package rest_test

import (
	"net/url"
	"strings"
	"testing"

	"parley/internal/spent"
)

// TestHostileBodies are refused, or taken for what little of them is known, at a small cost.
func TestHostileBodies(t *testing.T) {
	w := newWorld(t, settings{})
	const json, form = "application/json", "application/x-www-form-urlencoded"
	pairs := url.Values{}
	for range 20_000 {
		pairs.Add("a", "b")
	}
	for name, tc := range map[string]struct{ kind, body string }{
		"JSON of depth 10,000":          {json, `{"properties":{"custom_data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}}`},
		"JSON that never closes":        {json, strings.Repeat(`{"a":`, 10_000)},
		"JSON of 20,000 members":        {json, `{"properties":{"custom_data":[` + strings.Repeat("1,", 20_000) + `1]}}`},
		"a number of 60,000 digits":     {json, `{"properties":{"ttl":` + strings.Repeat("9", 60_000) + `}}`},
		"a name of 60,000 characters":   {json, `{"name":"` + strings.Repeat("é", 30_000) + `"}`},
		"escapes without end":           {json, `{"name":"` + strings.Repeat(`\u0000`, 10_000) + `"}`},
		"a form of 20,000 pairs":        {form, pairs.Encode()},
		"a form of depth 10,000":        {form, strings.Repeat("a.", 10_000) + "b=c"},
		"a form of escapes":             {form, strings.Repeat("%00", 20_000) + "=x"},
		"a body of another megabyte":    {json, `{"name":"` + strings.Repeat("x", 1<<20) + `"}`},
		"an exponent that is too large": {json, `{"properties":{"ttl":1e999999999}}`},
	} {
		spent.Little(t, name, func() {
			a := w.do(request{method: "POST", path: "/v1/conversations", token: w.admin(), body: tc.body, header: map[string]string{"Content-Type": tc.kind}})
			if a.status < 400 || a.status >= 500 {
				t.Errorf("%s: answered %d %.200s", name, a.status, a.raw)
			}
		})
	}
}
