package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
	"parley/cmd/parley/settings"
)

// target is the node a command speaks with and what it may say.
type target struct {
	node        *client.Client
	credentials client.Credentials
}

// addTargetFlags declares what names a node and proves who asks.
func addTargetFlags(command *cobra.Command) {
	command.Flags().String("url", "", "HTTP address of any node (default $PARLEY_URL, else "+defaultURL()+")")
	command.Flags().String("api-key", "", "API key (default $PARLEY_API_KEY, else what 'parley setup' saved)")
	command.Flags().String("api-secret", "", "API secret (default $PARLEY_API_SECRET, else what 'parley setup' saved)")
}

// addApplicationFlags declares what names an application.
func addApplicationFlags(command *cobra.Command) {
	command.Flags().String("app-id", "", "application (default: the one in ./.parley-app)")
	command.Flags().String("keyfile", "", "the application's private key (default: the one in ./.parley-app)")
}

// defaultURL is where a node is that was not told where to be.
func defaultURL() string { return "http://" + settings.Default().HTTPAddr }

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
		credentials.URL = defaultURL()
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
		return "", &missingError{"there is no API key and secret"}
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

// missingError says which credentials a command lacks. It matches client.ErrRefused, as if the node had missed them.
type missingError struct{ text string }

func (e *missingError) Error() string { return e.text }

func (e *missingError) Is(target error) bool { return target == client.ErrRefused }

// complete says what is missing to speak for an application. One that was made with a public key alone has
// its private key elsewhere.
func complete(a client.Application) error {
	switch {
	case a.ID == "":
		return &missingError{"there is no application here"}
	case a.PrivateKey == "":
		return &missingError{fmt.Sprintf("the private key of application %s is not here: name its file with --keyfile", a.ID)}
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
// starts with a bracket is JSON. known are the keys that there are; what is below one of them is free.
func parsePairs(args, known []string) (map[string]any, error) {
	object := map[string]any{}
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usagef("%q: must be key=value", arg)
		}
		if !isKnown(key, known) {
			return nil, usagef("unknown key %q%s", key, didYouMean(key, known))
		}
		var value any = text
		if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				return nil, usagef("%s: not valid JSON: %s", key, err)
			}
		}
		if err := put(object, strings.Split(key, "."), value); err != nil {
			return nil, &usageError{err.Error()}
		}
	}
	return object, nil
}

// isKnown says whether a key is one that is known, stands below one, or holds some.
func isKnown(key string, known []string) bool {
	return slices.ContainsFunc(known, func(k string) bool {
		return key == k || strings.HasPrefix(key, k+".") || strings.HasPrefix(k, key+".")
	})
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
	last := path[len(path)-1]
	if there, taken := object[last]; taken {
		if _, nested := there.(map[string]any); nested {
			return fmt.Errorf("%s is given both as a value and as an object", last)
		}
		return fmt.Errorf("%s is given twice", last)
	}
	object[last] = value
	return nil
}
