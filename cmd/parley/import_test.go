package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/cmd/parley/settings"
)

const (
	importAnswers = "export/testdata/answers"
	importedLunch = "CON-11111111-1111-4111-8111-111111111111"
	importedJamie = "USR-aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
)

// importWorld is a node with an application, and a shell that knows both.
type importWorld struct {
	*shell
	url, answers string
}

func newImportWorld(t *testing.T) *importWorld {
	t.Helper()
	s := settings.Default()
	s.APIKey, s.APISecret = "k", "s"
	n := startNode(t, t.TempDir(), s)
	t.Cleanup(func() { stopNode(t, n) })
	w := &importWorld{url: n.Addresses().HTTPURL()}
	w.shell = newShell(t, "PARLEY_URL="+w.url, "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")
	w.ok("app:create", "Migrated", "--keyfile=private.key")
	answers, err := filepath.Abs(importAnswers)
	if err != nil {
		t.Fatal(err)
	}
	w.answers = answers
	return w
}

// get reads as an administrator.
func (w *importWorld) get(path string) string {
	w.t.Helper()
	id := strings.TrimPrefix(strings.Split(w.file(".parley-app"), "\n")[1], "app_id=")
	token := strings.TrimSpace(w.ok("jwt:generate", "private.key", "application_id="+id))
	request, err := http.NewRequest(http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var raw json.RawMessage
	if err := json.NewDecoder(response.Body).Decode(&raw); err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatal(response.StatusCode, err, string(raw))
	}
	return string(raw)
}

func (w *importWorld) file(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// TestImport brings in what was saved of the old service: ids, times, order, receipts and deletions are
// what they were, and life goes on from there. To run it again changes nothing.
func TestImport(t *testing.T) {
	w := newImportWorld(t)
	match(t, w.ok("import", "--dry-run", w.answers), `Found: 2 users, 2 conversations, 3 members, 9 events \(1 warning, 0 errors\)\n`)
	if _, err := os.Stat(filepath.Join(w.dir, "parley-import.journal")); err == nil {
		t.Error("a dry run leaves a journal")
	}
	match(t, w.ok("import", w.answers), `Imported: 2 users, 2 conversations, 3 members, 9 events \(1 warning, 0 errors\)\n`)
	w.isImported()

	match(t, w.ok("import", w.answers), `Imported: 0 users, 0 conversations, 0 members, 0 events .*\nDone before: 4 .*\n`)
	w.ok("import", "--journal=another", w.answers) // the node knows as well
	w.isImported()
	if code, _, errOut := w.run("import", "--journal=another", filepath.Join(w.answers, "users.json")); code != exitFailed || !strings.Contains(errOut, "another import") {
		t.Errorf("another export with the same journal: exit %d, %s", code, errOut)
	}

	changed := filepath.Join(w.dir, "changed.json")
	other := strings.Replace(string(must(os.ReadFile(filepath.Join(w.answers, "user-jamie.json")))), "Jamie J", "Other", 1)
	if err := os.WriteFile(changed, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := w.run("import", "--journal=third", changed); code != exitFailed || !strings.Contains(errOut, "idempotency-conflict") {
		t.Errorf("other content under an id that is taken: exit %d, %s", code, errOut)
	}
	broken := filepath.Join(w.dir, "broken.jsonl")
	if err := os.WriteFile(broken, []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := w.run("import", "--json", broken)
	if code != exitFailed || !strings.Contains(out, `"line": 1`) || !strings.Contains(errOut, "nothing was imported") {
		t.Errorf("a broken export: exit %d, %s, %s", code, out, errOut)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// isImported compares what the node has with what was saved.
func (w *importWorld) isImported() {
	w.t.Helper()
	var history []struct {
		ID                    uint64
		Type, From, Timestamp string
		Body                  json.RawMessage
		State                 json.RawMessage
	}
	if err := json.Unmarshal([]byte(w.get("/beta/conversations/"+importedLunch+"/events")), &history); err != nil || len(history) != 9 {
		w.t.Fatal(err, len(history))
	}
	for i, wanted := range []string{"10:00:01.000", "10:00:02.000", "10:00:03.456", "10:00:04.500", "10:00:05.000", "10:00:06.000", "10:00:06.000", "10:00:07.000", "10:00:08.000"} {
		if e := history[i]; e.ID != uint64(i+1) || e.Timestamp != "2018-03-01T"+wanted+"Z" {
			w.t.Errorf("event %d: %+v", i+1, e)
		}
	}
	const alice = "MEM-b0000000-0000-4000-8000-000000000002"
	if text := history[2]; text.Type != "text" || string(text.Body) != `{"text":"hi"}` ||
		!strings.Contains(string(text.State), `"delivered_to":{"`+alice+`":"2018-03-01T10:00:04.000Z"}`) ||
		!strings.Contains(string(text.State), `"seen_by":{"`+alice+`":"2018-03-01T10:00:05.000Z"}`) {
		w.t.Errorf("the text: %+v %s", text, text.State)
	}
	if deleted := history[7]; string(deleted.Body) != `{"timestamp":{"deleted":"2018-03-01T10:00:09.000Z"}}` {
		w.t.Errorf("the deleted text: %s", deleted.Body)
	}
	match(w.t, w.ok("member:list", importedLunch), `MEM-a0000000.*JOINED\nMEM-b.*2 \| .* alice \| LEFT\nMEM-b.*3 \| .* alice \| INVITED\n`)
	if one := w.get("/v1/conversations/" + importedLunch); !strings.Contains(one, `"created":"2018-03-01T10:00:00.000Z"`) || !strings.Contains(one, `"sequence_number":9`) {
		w.t.Error(one)
	}
	if u := w.get("/v1/users/" + importedJamie); !strings.Contains(u, `"display_name":"Jamie J"`) || !strings.Contains(u, `"plan":`) {
		w.t.Error(u)
	}
	await(w.t, "the user's own list", func() bool {
		return strings.Contains(w.get("/v1/users/"+importedJamie+"/conversations"), importedLunch)
	})
}

// TestImportGoesOn: a node that breaks off in the middle, an import that is stopped, and one that goes on
// without its journal end in the same.
func TestImportGoesOn(t *testing.T) {
	w := newImportWorld(t)
	node, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var calls, busy atomic.Int64
	behind := httputil.NewSingleHostReverseProxy(node)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		switch {
		case n%3 == 0 && n < 12: // carried out, and the answer is lost
			behind.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case n == 4:
			busy.Add(1)
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
			return
		case strings.HasSuffix(r.URL.Path, "/events"):
			behind.ServeHTTP(rw, r)
			stop()
			return
		}
		behind.ServeHTTP(rw, r)
	}))
	defer front.Close()
	w.out, w.errOut = buffer{}, buffer{}
	if code := run(ctx, w.terminal(), []string{"import", "--url=" + front.URL, "--parallel=1", w.answers}); code != exitFailed {
		t.Fatalf("exit %d: %s", code, w.errOut.String())
	}
	if text := w.errOut.String(); !strings.Contains(text, "stopped; run the same command again") {
		t.Error(text)
	}
	if busy.Load() == 0 || !strings.Contains(w.file("parley-import.journal"), importedJamie) {
		t.Error("no limit was met, or the journal has nothing")
	}
	if code, out, _ := w.run("member:list", importedLunch); code != exitFailed {
		t.Errorf("half a conversation is seen: exit %d, %s", code, out)
	}
	match(t, w.ok("import", "--journal=fresh", w.answers), `Imported: 2 users, 2 conversations, .*\n`)
	w.isImported()
}

// await asks until something holds. What it waits for is bounded by the test's own deadline.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not there after a minute", what)
		}
	}
}
