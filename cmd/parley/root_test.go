package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
	"parley/edge/auth"
)

// shell runs commands in a directory of its own, as a user would.
type shell struct {
	t           *testing.T
	answer      string // what a person at the terminal types; empty = nobody is there
	dir, home   string
	environ     []string
	out, errOut buffer
}

// buffer is written by a node and read by the test.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newShell(t *testing.T, environ ...string) *shell {
	return &shell{t: t, dir: t.TempDir(), home: t.TempDir(), environ: environ}
}

func (s *shell) terminal() *terminal {
	return &terminal{in: strings.NewReader(s.answer), interactive: s.answer != "", out: &s.out, err: &s.errOut, environ: s.environ, dir: s.dir, home: s.home, now: time.Now}
}

// run executes one command line and gives exit code, standard output and standard error.
func (s *shell) run(args ...string) (int, string, string) {
	s.t.Helper()
	s.out, s.errOut = buffer{}, buffer{}
	code := run(context.Background(), s.terminal(), args)
	return code, s.out.String(), s.errOut.String()
}

// ok wants success and gives standard output. What a busy node did not do, or not in time, is asked again.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	for until := time.Now().Add(time.Minute); ; {
		code, out, errOut := s.run(args...)
		if code == exitDone {
			return out
		}
		late := strings.Contains(errOut, "(system:error:unavailable)") || strings.Contains(errOut, "(system:error:unknown-outcome)")
		if !late || time.Now().After(until) {
			s.t.Fatalf("parley %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
		}
	}
}

// keyFile puts a new private key into the shell's directory.
func (s *shell) keyFile(name string) {
	s.t.Helper()
	private, _, err := auth.GenerateKey()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(private), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"app:creat", "did you mean app:create?"},
		{"config shwo", "unknown command"},
		{"completion tcsh", "unknown command"},
		{"completion bash extra", "extra"},
		{"help confg", "no help"},
		{"help config shwo", "no help"},
		{"app:create", "missing argument"},
		{"member:list a b", "too many arguments"},
		{"serve --no-such", "unknown flag"},
		{"serve --http-addr nonsense", "host:port"},
		{"serve --raft-addr 0.0.0.0:1", "loopback"},
		{"config check --gossip-addr 10.0.0.1:1", "loopback"},
		{"dev --http-addr 0.0.0.0:0", "loopback"},
		{"user:create name", "key=value"},
		{"user:create channels=1 channels.b=2", "both as a value and as an object"},
		{"user:create channels.b=2 channels=1", "both as a value and as an object"},
		{"user:create channels.b.c=2 channels.b=1", "both as a value and as an object"},
		{"user:create name=x name=y", "Error: name is given twice"},
		{"import no-such-export", "no-such-export: there is no such file or folder"},
		{"user:create nme=x", `unknown key "nme"; did you mean name?`},
		{"user:create properties.custom=x", `unknown key "properties.custom"; did you mean properties.custom_data?`},
		{"conversation:create properties.tl=5", "did you mean properties.ttl?"},
		{"member:add CON-1 usr_id=x", "did you mean user_id?"},
		{"user:create far-from-all=x", "unknown key \"far-from-all\"\n"},
		{"clustr", "did you mean cluster?"},
		{"cluster stauts", "did you mean status?"},
		{"node undrian n1", "did you mean undrain?"},
		{"quite-another", "unknown command \"quite-another\"\n"},
		{"node remove n1 --froce", "unknown flag: --froce; did you mean --force?"},
		{"member:add CON-1 channel={", "not valid JSON"},
		{"jwt:generate sub=x", "application"},
		{"jwt:generate application_id=a", "private key"},
		{"jwt:generate application_id=a exp=soon", "exp"},
		{"jwt:generate application_id=a acl={}", "paths"},
		{"user:create --url nonsense", "http://"},
	} {
		code, out, errOut := newShell(t).run(strings.Fields(c.line)...)
		if code != exitUsage || !strings.Contains(errOut, c.want) || out != "" {
			t.Errorf("parley %s: exit %d, out %q, error %q; want exit 2 and %q", c.line, code, out, errOut, c.want)
		}
	}
}

// TestEveryCommandRefusesWhatItDoesNotKnow walks all commands, those that only hold others and
// those that the library adds: what makes no sense is exit 2 with a word why, and prints no result.
func TestEveryCommandRefusesWhatItDoesNotKnow(t *testing.T) {
	var walk func(command *cobra.Command)
	walk = func(command *cobra.Command) {
		path := strings.Fields(command.CommandPath())[1:]
		for _, extra := range [][]string{{"x1", "x2", "x3", "x4"}, {"--no-such-flag"}} {
			code, out, errOut := newShell(t).run(append(slices.Clone(path), extra...)...)
			if code != exitUsage || out != "" || !strings.HasPrefix(errOut, "Error: ") || !strings.Contains(errOut, "--help") {
				t.Errorf("parley %v %v: exit %d, out %q, error %q", path, extra, code, out, errOut)
			}
		}
		if command.HasSubCommands() {
			code, out, errOut := newShell(t).run(append(slices.Clone(path), "no-such-command")...)
			if code != exitUsage || out != "" || !strings.Contains(errOut, "unknown command") {
				t.Errorf("parley %v no-such-command: exit %d, out %q, error %q", path, code, out, errOut)
			}
			if code, out, _ := newShell(t).run(path...); code != exitDone || !strings.Contains(out, "Available Commands") {
				t.Errorf("parley %v: exit %d, out %q", path, code, out)
			}
		}
		for _, c := range command.Commands() {
			walk(c)
		}
	}
	walk(newRoot(newShell(t).terminal()))
}

func TestUnreachableAndUnauthorized(t *testing.T) {
	s := newShell(t, "PARLEY_URL=http://127.0.0.1:1")
	if code, _, errOut := s.run("app:create", "x"); code != exitRefused || !strings.Contains(errOut, "parley setup") {
		t.Errorf("without credentials: exit %d, %q", code, errOut)
	}
	if code, _, errOut := s.run("app:create", "x", "--api-key=k", "--api-secret=s"); code != exitUnreachable || !strings.Contains(errOut, "parley serve") {
		t.Errorf("without node: exit %d, %q", code, errOut)
	}
	if code, _, errOut := s.run("user:create"); code != exitRefused || !strings.HasPrefix(errOut, "Error: there is no application here\n") || !strings.Contains(errOut, "app:create") {
		t.Errorf("without application: exit %d, %q", code, errOut)
	}
	s.keyFile("private.key")
	if code, _, _ := s.run("user:create", "--app_id=a", "--keyfile=private.key"); code != exitUnreachable {
		t.Errorf("with application, without node: exit %d", code)
	}
	if code, _, errOut := s.run("user:create", "--app-id=a", "--keyfile=none.key"); code != exitFailed || !strings.Contains(errOut, "none.key") {
		t.Errorf("without key file: exit %d, %q", code, errOut)
	}
}

// TestAnApplicationIsNotMadeForAKeyThatCannotBeSaved: nobody is asked, so the missing node is not
// even noticed.
func TestAnApplicationIsNotMadeForAKeyThatCannotBeSaved(t *testing.T) {
	node := []string{"PARLEY_URL=http://127.0.0.1:1", "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s"}
	for name, prepare := range map[string]func(dir string) error{
		"no directory":             func(string) error { return nil },
		"a directory of that name": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "keys/private.key"), 0o700) },
		"no place for the old key": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "keys/private.key.old"), 0o700) },
		"a file for a directory":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "keys"), nil, 0o600) },
		"no place for the record":  func(dir string) error { return os.MkdirAll(filepath.Join(dir, ".parley-app"), 0o700) },
	} {
		s := newShell(t, node...)
		if err := prepare(s.dir); err != nil {
			t.Fatal(err)
		}
		code, out, errOut := s.run("app:create", "x", "--keyfile=keys/private.key")
		if code != exitFailed || out != "" || !strings.Contains(errOut, "no application was created: write ") {
			t.Errorf("%s: exit %d, %q, %q", name, code, out, errOut)
		}
	}
	s := newShell(t, node...)
	if code, _, _ := s.run("app:create", "x", "--keyfile=private.key"); code != exitUnreachable {
		t.Errorf("a key that can be saved: exit %d", code)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSetupWithoutNode(t *testing.T) {
	s := newShell(t, "PARLEY_URL=http://127.0.0.1:1")
	code, out, errOut := s.run("setup", "key", "secret")
	path := filepath.Join(s.home, ".parleyrc")
	if code != exitDone || out != "Credentials written to "+path+"\n" || !strings.Contains(errOut, "Not checked yet") {
		t.Errorf("exit %d, %q, %q", code, out, errOut)
	}
	got, err := client.ReadCredentials(s.home)
	if err != nil || got != (client.Credentials{APIKey: "key", APISecret: "secret"}) {
		t.Errorf("saved %+v, %v", got, err)
	}
	if out := s.ok("setup", "key", "secret", "--json"); !json.Valid([]byte(out)) {
		t.Errorf("not JSON: %s", out)
	}
}

func TestGenerateToken(t *testing.T) {
	s := newShell(t)
	s.keyFile("private.key")
	token := s.ok("jwt:generate", "./private.key", "application_id=a-1", "subject=ann", "exp=1893456000", `acl={"paths":{"/*/users/**":{}}}`)
	if strings.Count(token, "\n") != 1 || !strings.HasPrefix(token, "eyJ") {
		t.Fatalf("more than the token: %q", token)
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(strings.TrimSpace(token), claims); err != nil {
		t.Fatal(err)
	}
	if claims["application_id"] != "a-1" || claims["sub"] != "ann" || claims["exp"] != 1893456000.0 || claims["acl"] == nil {
		t.Errorf("claims %v", claims)
	}
	for _, line := range [][]string{
		{"jwt:generate", "private.key", "--app_id=a-1"},
		{"jwt:generate", "private.key", "app_id=a-1"},
		{"jwt:generate", "--keyfile=private.key", "--app-id=a-1"},
	} {
		if out := s.ok(line...); !strings.HasPrefix(out, "eyJ") {
			t.Errorf("%v: %q", line, out)
		}
	}
	if _, _, errOut := s.run("jwt:generate", "private.key", "application_id=a", "sub=ann"); !strings.Contains(errOut, "acl") {
		t.Errorf("no word about the missing acl: %q", errOut)
	}
	var object struct{ Token string }
	if err := json.Unmarshal([]byte(s.ok("jwt:generate", "private.key", "application_id=a", "--json")), &object); err != nil || object.Token == "" {
		t.Errorf("--json: %v", err)
	}
}

func TestTokenFromRecordedApplication(t *testing.T) {
	s := newShell(t)
	s.keyFile("private.key")
	pem, err := os.ReadFile(filepath.Join(s.dir, "private.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := (client.Application{ID: "a-9", PrivateKey: string(pem)}).Write(s.dir); err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(strings.TrimSpace(s.ok("jwt:generate")), claims); err != nil || claims["application_id"] != "a-9" {
		t.Errorf("claims %v, %v", claims, err)
	}
}

func TestConfigCommands(t *testing.T) {
	s := newShell(t, "PARLEY_HTTP_ADR=x", "PARLEY_API_KEY=k", "PARLEY_API_SECRET=hunter2", "PARLEY_LOG_LEVEL=debug")
	code, out, errOut := s.run("config", "check")
	if code != exitDone || out != "The configuration is valid.\n" || !strings.Contains(errOut, "PARLEY_HTTP_ADR") {
		t.Errorf("check: %d %q %q", code, out, errOut)
	}
	out = s.ok("config", "print", "--http-addr=127.0.0.1:8080")
	cells := strings.Join(strings.Fields(out), " ") // the columns are as wide as the longest value
	for _, want := range []string{"http-addr | 127.0.0.1:8080 | flag", "log-level | debug | environment", "data-dir | ./data | default"} {
		if !strings.Contains(cells, want) {
			t.Errorf("print lacks %q:\n%s", want, out)
		}
	}
	if all := out + s.ok("config", "print", "--json"); strings.Contains(all, "hunter2") {
		t.Errorf("the secret is shown:\n%s", all)
	}
	var object map[string]struct{ Value, Source string }
	if err := json.Unmarshal([]byte(s.ok("config", "print", "--json")), &object); err != nil || object["log-level"].Source != "environment" {
		t.Errorf("print --json: %v, %v", object, err)
	}
}

func TestVersionHelpAndCompletion(t *testing.T) {
	s := newShell(t)
	if out := s.ok("version"); !strings.HasPrefix(out, "parley ") {
		t.Errorf("version: %q", out)
	}
	if out := s.ok("version", "--json"); !json.Valid([]byte(out)) {
		t.Errorf("version --json: %q", out)
	}
	help := s.ok()
	for _, name := range []string{"app:create", "jwt:generate", "user:create", "conversation:create", "member:add", "member:list", "serve", "dev", "setup", "completion"} {
		if !strings.Contains(help, name) {
			t.Errorf("help lacks %s", name)
		}
	}
	for _, shellName := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := s.ok("completion", shellName); !strings.Contains(out, "parley") {
			t.Errorf("completion %s: %q", shellName, out)
		}
	}
	if out := s.ok("__complete", "app:c"); !strings.Contains(out, "app:create") {
		t.Errorf("completing app:c gives %q", out)
	}
}
