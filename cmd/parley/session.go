package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
	"parley/cmd/parley/settings"
)

// target is the node a command speaks with and what it may say.
type target struct {
	node        *client.Client
	credentials client.Credentials
	application client.Application
	token       string // of an administrator of the application; set by asAdministrator
}

// addTargetFlags declares what names a node and proves who asks.
func addTargetFlags(command *cobra.Command) {
	command.Flags().String("url", "", "HTTP address of any node (default $PARLEY_URL, else http://"+settings.Default().HTTPAddr+")")
	command.Flags().String("api-key", "", "API key (default $PARLEY_API_KEY, else what 'parley setup' saved)")
	command.Flags().String("api-secret", "", "API secret (default $PARLEY_API_SECRET, else what 'parley setup' saved)")
}

// addApplicationFlags declares what names an application.
func addApplicationFlags(command *cobra.Command) {
	command.Flags().String("app-id", "", "application (default: the one in ./.parley-app)")
	command.Flags().String("keyfile", "", "the application's private key (default: the one in ./.parley-app)")
}

// openTarget resolves flags, then variables, then files.
func openTarget(t *terminal, command *cobra.Command) (*target, error) {
	saved, err := client.ReadCredentials(t.home)
	if err != nil {
		return nil, err
	}
	choose := func(flag, variable, file string) string {
		if f := command.Flags().Lookup(flag); f != nil && f.Changed {
			return f.Value.String()
		}
		if v := t.getenv(variable); v != "" {
			return v
		}
		return file
	}
	credentials := client.Credentials{
		URL:       choose("url", "PARLEY_URL", saved.URL),
		APIKey:    choose("api-key", "PARLEY_API_KEY", saved.APIKey),
		APISecret: choose("api-secret", "PARLEY_API_SECRET", saved.APISecret),
	}
	if credentials.URL == "" {
		credentials.URL = "http://" + settings.Default().HTTPAddr
	}
	node, err := client.New(credentials.URL)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return &target{node: node, credentials: credentials}, nil
}

// asOperator is the authorization for calls about applications.
func (g *target) asOperator() (client.Authorization, error) {
	if g.credentials.APIKey == "" || g.credentials.APISecret == "" {
		return "", fmt.Errorf("no API key and secret: %w", client.ErrRefused)
	}
	return client.Basic(g.credentials.APIKey, g.credentials.APISecret), nil
}

// readApplication finds the application that a command is about.
func readApplication(t *terminal, command *cobra.Command) (client.Application, error) {
	application, err := client.ReadApplication(t.dir)
	if err != nil {
		return application, err
	}
	if f := command.Flags().Lookup("app-id"); f != nil && f.Changed {
		application.ID = f.Value.String()
	}
	if f := command.Flags().Lookup("keyfile"); f != nil && f.Changed {
		application.PrivateKey = f.Value.String()
	}
	application.PrivateKey, err = readKey(t, application.PrivateKey)
	return application, err
}

// readKey gives the PEM text of a key that is named by its file or stands there itself.
func readKey(t *terminal, key string) (string, error) {
	if key == "" || strings.HasPrefix(key, "-----BEGIN") {
		return key, nil
	}
	if !filepath.IsAbs(key) {
		key = filepath.Join(t.dir, key)
	}
	text, err := os.ReadFile(key)
	if err != nil {
		return "", fmt.Errorf("read private key: %w", err)
	}
	return string(text), nil
}

// callAsAdministrator makes one call with a fresh administrator's token of the application.
func callAsAdministrator(t *terminal, command *cobra.Command, method, path string, in any) (json.RawMessage, error) {
	g, err := openTarget(t, command)
	if err != nil {
		return nil, err
	}
	defer g.node.Close()
	application, err := readApplication(t, command)
	if err != nil {
		return nil, err
	}
	if err := complete(application); err != nil {
		return nil, err
	}
	token, err := application.AdminToken(t.now())
	if err != nil {
		return nil, fmt.Errorf("application %s: %w", application.ID, err)
	}
	return call(command.Context(), g, client.Bearer(token), method, path, in)
}

// complete says what is missing to speak for an application. One that was made with a public key alone has
// its private key elsewhere.
func complete(a client.Application) error {
	switch {
	case a.ID == "":
		return fmt.Errorf("no application here: %w", client.ErrRefused)
	case a.PrivateKey == "":
		return fmt.Errorf("no private key of application %s here, name it with --keyfile: %w", a.ID, client.ErrRefused)
	}
	return nil
}

func call(ctx context.Context, g *target, auth client.Authorization, method, path string, in any) (json.RawMessage, error) {
	var answer json.RawMessage
	err := g.node.Call(ctx, auth, method, path, in, &answer)
	return answer, err
}

// field reads one string member of a JSON object; absent is empty.
func field(object json.RawMessage, name string) string {
	var members map[string]json.RawMessage
	var text string
	if json.Unmarshal(object, &members) == nil {
		_ = json.Unmarshal(members[name], &text) // not a string is as good as absent
	}
	return text
}

// parsePairs turns key=value arguments into a JSON object: dotted keys nest, and a value that
// starts with a bracket is JSON.
func parsePairs(args []string) (map[string]any, error) {
	object := map[string]any{}
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usagef("%q: must be key=value", arg)
		}
		var value any = text
		if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				return nil, usagef("%s: not valid JSON: %s", key, err)
			}
		}
		if err := put(object, strings.Split(key, "."), value); err != nil {
			return nil, usagef("%s: %s", key, err)
		}
	}
	return object, nil
}

func put(object map[string]any, path []string, value any) error {
	for _, name := range path[:len(path)-1] {
		inner, ok := object[name].(map[string]any)
		if !ok {
			if _, taken := object[name]; taken {
				return fmt.Errorf("%s is given both as a value and as an object", name)
			}
			inner = map[string]any{}
			object[name] = inner
		}
		object = inner
	}
	object[path[len(path)-1]] = value
	return nil
}
