package rest_test

import (
	"maps"
	"net/http"
	"testing"
)

// TestPagesOfOthersUseNoLogin: an operator has opened a list of applications, and the browser knows the key and
// secret since. It would send them along with what it sends for any page without asking first.
func TestPagesOfOthersUseNoLogin(t *testing.T) {
	w := newWorld(t, settings{})
	login, err := http.NewRequest("POST", w.url, nil)
	must(t, err)
	login.SetBasicAuth(apiKey, apiSecret)
	for name, tc := range map[string]struct {
		header map[string]string
		status int
	}{
		"a page of another site":               {map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"a page of another port":               {map[string]string{"Sec-Fetch-Site": "same-site", "Content-Type": "text/plain"}, 403},
		"an older browser":                     {map[string]string{"Origin": "https://elsewhere.example"}, 403},
		"a form of another site":               {map[string]string{"Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"}, 403},
		"the node's own page":                  {map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		"no page":                              {nil, 200},
		"a page that has the secret by itself": {map[string]string{"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}, 200},
	} {
		header := map[string]string{"Authorization": login.Header.Get("Authorization")}
		maps.Copy(header, tc.header)
		a := w.do(request{method: "POST", path: "/v2/applications/" + w.app.id + "/webhook-secret", header: header})
		if a.status != tc.status {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}
