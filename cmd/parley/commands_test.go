package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/cmd/parley/client"
)

// TestAnInterruptedCommand says nothing about the node, which was about to answer.
func TestAnInterruptedCommand(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	node := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	}))
	defer node.Close()
	s := newShell(t, "PARLEY_URL="+node.URL, "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")
	code := run(ctx, s.terminal(), []string{"cluster", "status"})
	if errOut := s.errOut.String(); code != exitFailed || strings.Contains(errOut, "not reachable") || strings.Contains(errOut, "running") {
		t.Errorf("exit %d, %q", code, errOut)
	}
}

// TestSetupKeepsTheURL: another key and secret are for the node that they were checked with.
func TestSetupKeepsTheURL(t *testing.T) {
	s := newShell(t)
	for _, c := range []struct {
		args []string
		want client.Credentials
	}{
		{[]string{"setup", "k", "s", "--url=http://127.0.0.1:1"}, client.Credentials{URL: "http://127.0.0.1:1", APIKey: "k", APISecret: "s"}},
		{[]string{"setup", "k2", "s2"}, client.Credentials{URL: "http://127.0.0.1:1", APIKey: "k2", APISecret: "s2"}},
		{[]string{"setup", "k2", "s2", "--url=http://127.0.0.1:2"}, client.Credentials{URL: "http://127.0.0.1:2", APIKey: "k2", APISecret: "s2"}},
	} {
		s.ok(c.args...)
		if got, err := client.ReadCredentials(s.home); err != nil || got != c.want {
			t.Errorf("%v: saved %+v, %v", c.args, got, err)
		}
	}
}

// TestRatesAreNumbers: what is no number is neither too small nor too large.
func TestRatesAreNumbers(t *testing.T) {
	s := newShell(t)
	for _, args := range [][]string{{"import", "--rate=NaN", "export.json"}, {"bench", "--rate=NaN"}} {
		if code, _, errOut := s.run(args...); code != exitUsage || !strings.Contains(errOut, "--rate must be") {
			t.Errorf("%v: exit %d, %s", args, code, errOut)
		}
	}
}
