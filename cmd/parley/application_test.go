package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/edge/auth"
	"parley/test/solo"
)

// TestTheManualOfMigrating runs the lines of docs/migrate.md in the order in which they stand there, with a
// key and an export as a team has them: each prints what the manual shows.
func TestTheManualOfMigrating(t *testing.T) {
	w := newImportWorld(t)
	if err := os.Remove(filepath.Join(w.dir, ".parley-app")); err != nil {
		t.Fatal(err)
	}
	w.keyFile("private.key")
	if err := os.CopyFS(filepath.Join(w.dir, "export"), os.DirFS(w.answers)); err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../docs/migrate.md")
	if err != nil {
		t.Fatal(err)
	}
	out, ran := "", 0
	for line := range strings.Lines(string(manual)) {
		line = strings.TrimSpace(line)
		if command, shown := strings.CutPrefix(line, "$ parley "); shown {
			out, ran = w.ok(strings.Fields(command)...), ran+1
		}
		for _, first := range []string{"Found: ", "Imported: ", "No existing config found."} {
			if strings.HasPrefix(line, first) && !strings.Contains(out, line) {
				t.Errorf("the manual shows %q; the command says %q", line, out)
			}
		}
	}
	if ran != 3 {
		t.Errorf("the manual has %d commands", ran)
	}
	// The team signs tokens as it did before.
	if one := w.get("/v1/conversations/" + importedLunch); !strings.Contains(one, `"sequence_number":9`) {
		t.Error(one)
	}
	if strings.Contains(w.file(".parley-app"), "PRIVATE KEY") {
		t.Error("the private key was copied")
	}
}

// TestAnApplicationWithAKeyOfItsOwn: the public half alone does, nothing else is taken, and nothing is sent
// before that is known.
func TestAnApplicationWithAKeyOfItsOwn(t *testing.T) {
	w := newImportWorld(t)
	private, public, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"private.key": private, "public.pem": public, "none.pem": "no key", "half.pem": public[:100]} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	match(t, w.ok("app:create", "own", "--public-key=public.pem"), `Application created: .*\nExisting config found.*\nCredentials written to .*\n`)
	w.ok("user:create", "name=ann", "--keyfile=private.key")
	if code, _, errOut := w.run("user:create", "name=bob"); code != exitRefused || !strings.Contains(errOut, "--keyfile") {
		t.Errorf("without the key: exit %d, %s", code, errOut)
	}

	away := newShell(t, "PARLEY_URL=http://127.0.0.1:1", "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")
	away.dir = w.dir
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"--public-key=public.pem":                 {exitUnreachable, "parley serve"},
		"--public-key=none.pem":                   {exitFailed, "no application was created: none.pem: must be a public key in PEM format"},
		"--public-key=half.pem":                   {exitFailed, "no application was created: half.pem: must be"},
		"--public-key=absent.pem":                 {exitFailed, "no application was created: read public key"},
		"--public-key=":                           {exitFailed, "no application was created: read public key"},
		"--public-key=public.pem --keyfile=a.key": {exitUsage, "--keyfile saves a key that the node makes"},
	} {
		if code, _, errOut := away.run(append([]string{"app:create", "x"}, strings.Fields(line)...)...); code != want.code || !strings.Contains(errOut, want.text) {
			t.Errorf("%s: exit %d, %s", line, code, errOut)
		}
	}
}

// TestOnlyThePublicHalfLeaves of a file that holds both, in whichever order and form.
func TestOnlyThePublicHalfLeaves(t *testing.T) {
	key := solo.Key(t, 0)
	public := solo.PublicKey(t, key)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	old := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	for name, text := range map[string]string{
		"public": public, "private": private, "public first": public + private, "private first": private + public,
		"old form": old + private, "with a note": "prime1: 12345\n" + public,
	} {
		home := &terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}, dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(home.dir, "pair.pem"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		command := newAppCreate(home)
		if err := command.Flags().Set("public-key", "pair.pem"); err != nil {
			t.Fatal(err)
		}
		sent, err := ownPublicKey(home, command)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if sent != public {
			t.Errorf("%s: more or less is sent than the public key, %d bytes", name, len(sent))
		}
	}
}
