package client

import (
	"os"
	"path/filepath"
	"testing"
)

const pem = "-----BEGIN PRIVATE KEY-----\nMIIE=\n-----END PRIVATE KEY-----\n"

func TestCredentialsComeBack(t *testing.T) {
	home := t.TempDir()
	if got, err := ReadCredentials(home); err != nil || got != (Credentials{}) {
		t.Fatalf("nothing saved: %+v, %v", got, err)
	}
	for _, want := range []Credentials{
		{APIKey: "k", APISecret: "s"},
		{APIKey: `we"ird=[key]`, APISecret: "#1;\n2", URL: "http://h:1"},
	} {
		path, err := want.Write(home)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadCredentials(home); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		checkPrivate(t, path)
	}
}

func TestApplicationComesBack(t *testing.T) {
	dir := t.TempDir()
	want := Application{ID: "a-1", PrivateKey: pem}
	for _, before := range []bool{false, true} {
		path, existed, err := want.Write(dir)
		if err != nil || existed != before {
			t.Fatalf("write: existed %t, %v", existed, err)
		}
		checkPrivate(t, path)
	}
	if got, err := ReadApplication(dir); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestOldFilesAreUnderstood(t *testing.T) {
	dir := t.TempDir()
	old := "; comment\n[other]\napp_id=no\n[app_config]\r\napp_id = a-2\nprivate_key=\"-----BEGIN PRIVATE KEY-----\\nMIIE=\\n-----END PRIVATE KEY-----\\n\"\n\n[app_config.keys]\nx=y\n"
	if err := os.WriteFile(filepath.Join(dir, ".nexmo-app"), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadApplication(dir); err != nil || got != (Application{ID: "a-2", PrivateKey: pem}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, _, err := (Application{ID: "a-3", PrivateKey: pem}).Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadApplication(dir); err != nil || got.ID != "a-3" {
		t.Errorf("the own file must win: %+v, %v", got, err)
	}
}

func TestWriteSecretReplacesALooseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "private.key")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteSecret(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	checkPrivate(t, path)
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := WriteSecret(filepath.Join(path, "x"), nil); err == nil {
		t.Error("a file is no directory, yet writing into it gave no error")
	}
}

func checkPrivate(t *testing.T, path string) {
	t.Helper()
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %o, want 600", path, stat.Mode().Perm())
	}
}
