package main

import (
	"net/http"
	"testing"

	"parley/cmd/parley/settings"
)

// TestPagesOfOthersChangeNoCluster: the browser of an operator who has looked at /cluster/status sends the key and
// secret along with whatever a page of another origin has it send.
func TestPagesOfOthersChangeNoCluster(t *testing.T) {
	s := settings.Default()
	s.APIKey, s.APISecret = "k", "s"
	n := startNode(t, t.TempDir(), s)
	defer stopNode(t, n)
	for site, want := range map[string]int{"cross-site": http.StatusForbidden, "same-origin": http.StatusAccepted, "": http.StatusAccepted} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.Addresses().HTTPURL()+"/cluster/rebalance", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("k", "s")
		r.Header.Set("Sec-Fetch-Site", site)
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if a.Body.Close(); a.StatusCode != want {
			t.Errorf("%q: %s", site, a.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
