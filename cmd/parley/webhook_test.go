package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/cmd/parley/settings"
	"parley/edge/admin"
)

// TestWebhookCommands walks what an operator does about a webhook that was broken for a while.
func TestWebhookCommands(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusGone)
	calls := make(chan string, 64) // more than there are calls
	hooks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(int(status.Load()))
		calls <- r.Header.Get("Webhook-Id")
	}))
	defer hooks.Close()
	s := settings.Default()
	s.APIKey, s.APISecret, s.WebhookAllow = "k", "s", []string{"127.0.0.1"}
	n := startNode(t, t.TempDir(), s)
	defer stopNode(t, n)
	sh := newShell(t, "PARLEY_URL="+n.Addresses().HTTPURL(), "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")

	for _, c := range [][]string{{"webhook", "dead-letters"}, {"webhook", "redeliver"}} {
		if code, _, errOut := sh.run(c...); code != exitUsage || !strings.Contains(errOut, "which application") {
			t.Errorf("%v without an application: exit %d, %s", c, code, errOut)
		}
	}
	sh.ok("app:create", "My app", "https://example.com/answer", hooks.URL)
	match(t, sh.ok("webhook", "dead-letters"), "No dead letters.\n")
	con := strings.TrimSpace(strings.TrimPrefix(sh.ok("cc"), "Conversation created: "))
	for _, name := range []string{"ann", "ben", "eve"} {
		user := strings.TrimSpace(strings.TrimPrefix(sh.ok("uc", "name="+name), "User created: "))
		sh.ok("ma", con, "action=join", `channel={"type":"app"}`, "user_id="+user)
	}

	letters := awaitLetters(t, sh, 3)
	if l := letters[1]; l.Conversation != con || l.Event != 2 || l.Target != "event_url" || !strings.Contains(l.Reason, "410") {
		t.Errorf("%+v", l)
	}
	match(t, sh.ok("webhook", "dead-letters"), `(?s)letter +\| conversation +\| event \| target .*`+con+` \| 2 +\| event_url \| .*410.*`)
	for range 3 {
		<-calls
	}
	status.Store(http.StatusNoContent)
	if code, _, errOut := sh.run("webhook", "redeliver"); code != exitUsage || !strings.Contains(errOut, "--yes") {
		t.Errorf("nobody was asked: exit %d, %s", code, errOut)
	}
	match(t, sh.ok("webhook", "redeliver", letters[2].ID, "--yes"), "Back on their way: 1\n")
	if id := <-calls; id != con+":3:event_url" {
		t.Errorf("%s was delivered", id)
	}
	match(t, sh.ok("webhook", "discard", letters[0].ID, "--yes"), "Dropped: 1\n")
	match(t, sh.ok("webhook", "redeliver", "--yes", "--json"), `(?s)\{\s*"letters": 1\s*\}\s*`)
	if id := <-calls; id != con+":2:event_url" {
		t.Errorf("%s was delivered", id)
	}
	awaitLetters(t, sh, 0)
	if code, _, errOut := sh.run("webhook", "discard", letters[0].ID, "--yes"); code != exitFailed || !strings.Contains(errOut, "no such dead letter") {
		t.Errorf("a letter was dropped twice: exit %d, %s", code, errOut)
	}
	for line, says := range map[string]string{"--kind=mail": "webhook or push", "--app-id=none": "does not exist"} {
		if code, _, errOut := sh.run("webhook", "dead-letters", line); code != exitFailed || !strings.Contains(errOut, says) {
			t.Errorf("%s: exit %d, %s", line, code, errOut)
		}
	}
	match(t, sh.ok("webhook", "rotate-secret", "--yes"), "whsec_[A-Za-z0-9+/=]{44}\n")
}

// awaitLetters asks until there are n dead letters.
func awaitLetters(t *testing.T, sh *shell, n int) []admin.Letter {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); {
		var page admin.LetterPage
		if err := json.Unmarshal([]byte(sh.ok("webhook", "dead-letters", "--json")), &page); err != nil {
			t.Fatal(err)
		}
		if len(page.Letters) == n {
			return page.Letters
		}
	}
	t.Fatalf("there are not %d dead letters", n)
	return nil
}
