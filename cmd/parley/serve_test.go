package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"parley/cmd/parley/client"
	"parley/cmd/parley/node"
	"parley/cmd/parley/settings"
	"parley/internal/telemetry"
)

// startNode runs a real node in this process, on free ports, as `parley serve` does.
func startNode(t *testing.T, dir string, s settings.Settings) *node.Node {
	t.Helper()
	s.DataDir, s.HTTPAddr, s.GossipAddr, s.RPCAddr, s.RaftAddr = dir, anyPort, anyPort, anyPort, anyPort
	s.ShutdownGrace = 30 * time.Second // a busy machine needs more than a calm one
	log, err := telemetry.NewLogger(t.Output(), telemetry.DefaultLogOptions())
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), node.Options{Settings: s, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func stopNode(t *testing.T, n *node.Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestGettingStarted(t *testing.T) {
	s := settings.Default()
	s.APIKey, s.APISecret = "k", "s"
	n := startNode(t, t.TempDir(), s)
	defer stopNode(t, n)
	sh := newShell(t, "PARLEY_URL="+n.Addresses().HTTPURL())

	if code, out, _ := sh.run("setup", "k", "wrong"); code != exitRefused || out != "" {
		t.Errorf("setup with a wrong secret: exit %d, %q", code, out)
	}
	sh.ok("setup", "k", "s")
	id := `[0-9a-f]{8}-[0-9a-f-]{27}`
	config := regexp.QuoteMeta(filepath.Join(sh.dir, ".parley-app"))
	match(t, sh.ok("app:create", "My first Conversation Application", "--type=rtc", "--keyfile=private.key"),
		"Application created: "+id+"\nNo existing config found. Writing to new file.\nCredentials written to "+config+"\nPrivate Key saved to: private.key\n")
	if stat, err := os.Stat(filepath.Join(sh.dir, "private.key")); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("private.key: %v, %v", stat, err)
	}
	conversation := last(match(t, sh.ok("conversation:create", "display_name=X"), "Conversation created: CON-"+id+"\n"))
	user := last(match(t, sh.ok("uc", "name=alex"), "User created: USR-"+id+"\n"))
	match(t, sh.ok("ml", conversation), "No members\n")
	member := last(match(t, sh.ok("ma", conversation, "action=join", `channel={"type":"app"}`, "user_id="+user), "Member added: MEM-"+id+"\n"))
	match(t, sh.ok("member:list", conversation), member+` \| `+user+` \| alex \| JOINED`+"\n")
	match(t, sh.ok("member:list", conversation, "-v"), `name +\| user_id +\| user_name \| state\n-+ \| -+ \| -+ \| -+\n`+member+` \| `+user+` \| alex      \| JOINED`+"\n")
	match(t, sh.ok("cc", "name=lunch", "-v"), `\[id\]\nCON-`+id+`\n\n\[href\]\nhttp.*\n\n`)
	for _, line := range [][]string{{"uc", "--json"}, {"cc", "--json"}, {"ml", conversation, "--json"}, {"ac", "second", "--json"}} {
		if out := sh.ok(line...); !json.Valid([]byte(out)) || strings.Contains(out, "PRIVATE KEY") {
			t.Errorf("%v: %s", line, out)
		}
	}
	if code, _, errOut := sh.run("uc", "name=alex", "--app-id=none"); code != exitRefused {
		t.Errorf("unknown application: exit %d, %s", code, errOut)
	}
}

func TestCreatedKeysAreNeverOverwritten(t *testing.T) {
	s := settings.Default()
	s.APIKey, s.APISecret = "k", "s"
	n := startNode(t, t.TempDir(), s)
	defer stopNode(t, n)
	sh := newShell(t, "PARLEY_URL="+n.Addresses().HTTPURL(), "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")
	sh.ok("ac", "one", "--keyfile=private.key")
	first, err := os.ReadFile(filepath.Join(sh.dir, "private.key"))
	if err != nil {
		t.Fatal(err)
	}
	if out := sh.ok("ac", "two", "http://a/answer", "http://a/event", "--keyfile=private.key"); !strings.Contains(out, "Existing config found.") {
		t.Errorf("second: %q", out)
	}
	if kept, err := os.ReadFile(filepath.Join(sh.dir, "private.key.old")); err != nil || string(kept) != string(first) {
		t.Errorf("the first key is gone: %v", err)
	}
}

func TestFirstCredentials(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir, settings.Default())
	first := n.Credentials()
	if !first.Fresh || len(first.APIKey) != 8 || len(first.APISecret) < 32 {
		t.Errorf("first start: %+v", first)
	}
	sh := newShell(t, "PARLEY_URL="+n.Addresses().HTTPURL(), "PARLEY_API_KEY="+first.APIKey, "PARLEY_API_SECRET="+first.APISecret)
	sh.ok("ac", "x")
	stopNode(t, n)

	other := settings.Default()
	other.APIKey, other.APISecret = "another", "pair"
	n = startNode(t, dir, other)
	defer stopNode(t, n)
	if again := n.Credentials(); again.Fresh || again.APIKey != first.APIKey || again.APISecret != "" {
		t.Errorf("second start: %+v", again)
	}
	sh.environ[0] = "PARLEY_URL=" + n.Addresses().HTTPURL()
	sh.ok("uc", "name=still-there")
	if code, _, _ := sh.run("ac", "x", "--api-key=another", "--api-secret=pair"); code != exitRefused {
		t.Errorf("the later pair was taken: exit %d", code)
	}
}

// running is a command that serves until it is stopped.
type running struct {
	t       *testing.T
	printed string // until it was ready
	errOut  buffer
	stop    context.CancelFunc
	ended   chan int
	rest    chan struct{} // closed when the rest of the output was read
}

// serve runs a command in sh until it says how to stop it, or, with --json, has printed its object.
func (sh *shell) serve(args ...string) *running {
	sh.t.Helper()
	ctx, stop := context.WithCancel(sh.t.Context())
	r := &running{t: sh.t, stop: stop, ended: make(chan int, 1), rest: make(chan struct{})}
	reader, writer := io.Pipe()
	term := sh.terminal()
	term.out, term.err = writer, &r.errOut
	go func() {
		r.ended <- run(ctx, term, append(args, "--gossip-addr", anyPort, "--rpc-addr", anyPort, "--raft-addr", anyPort))
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	for lines.Scan() {
		r.printed += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "Ctrl-C") || lines.Text() == "}" {
			break
		}
	}
	go func() {
		defer close(r.rest)
		io.Copy(io.Discard, reader)
	}()
	return r
}

// end stops the command as a signal does.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if code := <-r.ended; code != exitDone {
		r.t.Errorf("exit %d: %s", code, r.errOut.String())
	}
	<-r.rest
}

// TestServe runs the command itself: what it prints, the file it leaves, health, and the end.
func TestServe(t *testing.T) {
	sh := newShell(t)
	data := filepath.Join(sh.dir, "data")
	r := sh.serve("serve", "--data-dir", data, "--http-addr", anyPort, "--admin-addr", anyPort)
	var a node.Addresses
	text, err := os.ReadFile(filepath.Join(data, node.AddressesFile))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{a.HTTP, a.Admin} {
		for _, path := range []string{"/readyz", "/healthz", "/metrics"} {
			if status := get(t, "http://"+host+path, nil); status != http.StatusOK {
				t.Errorf("%s%s: %d", host, path, status)
			}
		}
	}
	if status := get(t, "http://"+a.HTTP+"/demo/session", nil); status != http.StatusNoContent {
		t.Errorf("serve gives tokens away: %d", status)
	}
	r.end()
	for _, want := range []string{"/demo", "/docs", "API secret", a.HTTP} {
		if !strings.Contains(r.printed, want) {
			t.Errorf("not printed: %s", want)
		}
	}
	secret := regexp.MustCompile(`API secret +(\S+)`).FindStringSubmatch(r.printed)
	if len(secret) < 2 || strings.Contains(r.errOut.String(), secret[1]) {
		t.Errorf("the secret is not printed, or is logged")
	}
}

// TestDev checks every member of the printed object against the running node, twice on the same
// directory: the second run finds the demo of the first.
func TestDev(t *testing.T) {
	sh := newShell(t)
	var first shownDemo
	for i := range 2 {
		r := sh.serve("dev", "--json", "--data-dir", filepath.Join(sh.dir, "data"), "--http-addr", anyPort)
		var d shownDemo
		if err := json.Unmarshal([]byte(r.printed), &d); err != nil {
			t.Fatalf("%v: %s%s", err, r.printed, r.errOut.String())
		}
		if i == 0 {
			first = d
		} else if d.ApplicationID != first.ApplicationID || d.ConversationID != first.ConversationID || d.Users[1].ID != first.Users[1].ID {
			t.Errorf("another demo: %+v, was %+v", d, first)
		}
		conversation := d.HTTPURL + "/v1/conversations/" + d.ConversationID
		for _, token := range []string{d.AdminToken, d.Users[0].Token, d.Users[1].Token} {
			if status := get(t, conversation, map[string]string{"Authorization": "Bearer " + token}); status != http.StatusOK {
				t.Errorf("conversation: %d", status)
			}
		}
		if d.Users[0].Name != "alice" || d.Users[1].Name != "bob" || get(t, d.DemoURL, nil) != http.StatusOK {
			t.Errorf("users %+v, page %s", d.Users, d.DemoURL)
		}
		if stat, err := os.Stat(d.PrivateKeyFile); err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("key file: %v, %v", stat, err)
		}
		sh.environ = []string{"PARLEY_URL=" + d.HTTPURL, "PARLEY_API_KEY=" + d.APIKey, "PARLEY_API_SECRET=" + d.APISecret}
		sh.ok("app:create", "with the printed credentials")
		for host, want := range map[string]int{"": http.StatusOK, "evil.example": http.StatusForbidden} {
			if status := get(t, d.HTTPURL+"/demo/session", map[string]string{"Host": host}); status != want {
				t.Errorf("tokens for host %q: %d", host, status)
			}
		}
		r.end()
		sh.environ = nil
	}
}

func TestDevCleansUp(t *testing.T) {
	sh := newShell(t)
	t.Setenv("TMPDIR", sh.dir)
	r := sh.serve("dev", "--http-addr", anyPort)
	if entries, err := os.ReadDir(sh.dir); err != nil || len(entries) != 1 {
		t.Errorf("while it runs: %v, %v", entries, err)
	}
	if strings.Count(r.printed, "\neyJ") != 3 {
		t.Errorf("not three tokens: %s", r.printed)
	}
	r.end()
	if entries, err := os.ReadDir(sh.dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// get gives the status of an answer.
func get(t *testing.T, url string, header map[string]string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		request.Header.Set(k, v)
	}
	request.Host = header["Host"]
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func match(t *testing.T, got, pattern string) string {
	t.Helper()
	if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(got) {
		t.Fatalf("got\n%s\nwant\n%s", got, pattern)
	}
	return got
}

// last word of a line.
func last(text string) string {
	words := strings.Fields(text)
	return words[len(words)-1]
}

func TestBench(t *testing.T) {
	s := settings.Default()
	s.APIKey, s.APISecret = "k", "s"
	n := startNode(t, t.TempDir(), s)
	defer stopNode(t, n)
	sh := newShell(t, "PARLEY_URL="+n.Addresses().HTTPURL(), "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")
	var result struct {
		Sent, Acked, Delivered int
		AckP99                 float64 `json:"ack_p99_ms"`
	}
	// A run waits a second for what is on its way: on a busy machine some of it comes later, and another run is needed.
	await(t, "a run with all acknowledged and delivered", func() bool {
		out := sh.ok("bench", "--rooms=2", "--members=3", "--rate=50", "--duration=1s", "--json")
		if err := json.Unmarshal([]byte(out), &result); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if result.Sent != 50 || result.Acked > 50 || result.Delivered > 150 {
			t.Fatalf("result %s", out)
		}
		return result.Acked == 50 && result.Delivered == 150
	})
	if result.AckP99 <= 0 {
		t.Errorf("result %+v", result)
	}
	c, err := client.New(n.Addresses().HTTPURL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var list struct {
		Total int `json:"total_items"`
	}
	if err := c.Call(t.Context(), client.Basic("k", "s"), http.MethodGet, "/v2/applications", nil, &list); err != nil || list.Total != 0 {
		t.Errorf("bench left %d applications behind, %v", list.Total, err)
	}
	for _, bad := range []string{"--rooms=0", "--senders=9", "--rate=-1", "--duration=1ms", "--rooms=100000"} {
		if code, _, _ := sh.run("bench", bad); code != exitUsage {
			t.Errorf("bench %s: exit %d", bad, code)
		}
	}
}
