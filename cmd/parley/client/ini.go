package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The two files have the form of the old command line's, so its files can be taken along:
// sections in brackets, key=value lines, values with line breaks quoted.
const (
	credentialsFile    = ".parleyrc"
	applicationFile    = ".parley-app"
	applicationFileOld = ".nexmo-app"
)

// Credentials are an API key and its secret, and the node they are for.
type Credentials struct {
	URL       string // empty = not recorded
	APIKey    string
	APISecret string
}

// credentialsPath is the file in the user's home directory.
func credentialsPath(home string) string { return filepath.Join(home, credentialsFile) }

// ReadCredentials gives what was saved under home; nothing saved is no error.
func ReadCredentials(home string) (Credentials, error) {
	values, err := readINI(credentialsPath(home), "credentials")
	return Credentials{URL: values["url"], APIKey: values["api_key"], APISecret: values["api_secret"]}, err
}

// Write saves the credentials so that only the user can read them, and gives the file's path.
func (c Credentials) Write(home string) (string, error) {
	path := credentialsPath(home)
	lines := [][2]string{{"api_key", c.APIKey}, {"api_secret", c.APISecret}}
	if c.URL != "" {
		lines = append(lines, [2]string{"url", c.URL})
	}
	return path, writeINI(path, "credentials", lines)
}

// Application is the application that commands in a directory are about.
type Application struct {
	ID         string
	PrivateKey string // PEM
}

// applicationPath is the file in directory dir.
func applicationPath(dir string) string { return filepath.Join(dir, applicationFile) }

// ReadApplication gives what is recorded in dir, in Parley's file or else in the old command
// line's; nothing recorded is no error.
func ReadApplication(dir string) (Application, error) {
	for _, name := range []string{applicationFile, applicationFileOld} {
		values, err := readINI(filepath.Join(dir, name), "app_config")
		if err != nil || values["app_id"] != "" {
			return Application{ID: values["app_id"], PrivateKey: values["private_key"]}, err
		}
	}
	return Application{}, nil
}

// Write records the application in dir. existed tells whether the file was there before.
func (a Application) Write(dir string) (path string, existed bool, err error) {
	path = applicationPath(dir)
	_, statErr := os.Stat(path)
	err = writeINI(path, "app_config", [][2]string{{"app_id", a.ID}, {"private_key", a.PrivateKey}})
	return path, statErr == nil, err
}

// CanWriteApplication says why Write to dir would fail now, nil if nothing speaks against it.
func CanWriteApplication(dir string) error { return CanWriteSecret(applicationPath(dir)) }

func readINI(path, section string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	values := map[string]string{}
	in := ""
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			in = line[1 : len(line)-1]
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || in != section || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		values[strings.TrimSpace(key)] = unquote(strings.TrimSpace(value))
	}
	return values, nil
}

func unquote(value string) string {
	if text, err := strconv.Unquote(value); err == nil {
		return text
	}
	return value
}

func writeINI(path, section string, lines [][2]string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", section)
	for _, l := range lines {
		value := l[1]
		if strings.ContainsAny(value, "\r\n=\"[;#") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "%s=%s\n", l[0], value)
	}
	return WriteSecret(path, []byte(b.String()))
}

// WriteSecret replaces path by content that only the user can read, in one step: a reader sees
// the old file or the new one, and no moment exists in which others may read it.
func WriteSecret(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // created with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone already after the rename
	_, err = f.Write(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// CanWriteSecret says why WriteSecret to path would fail now, nil if nothing speaks against it.
// It leaves nothing behind. Ask before something is made that can be saved only once.
func CanWriteSecret(path string) error {
	if found, err := os.Stat(path); err == nil && found.IsDir() {
		return fmt.Errorf("write %s: it is a directory", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
