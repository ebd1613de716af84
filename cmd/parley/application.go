package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
	"parley/edge/auth"
)

func newSetup(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "setup KEY SECRET", Short: "Save the API key and secret for later commands",
		Args: between(2, 2, "KEY SECRET"),
		RunE: func(command *cobra.Command, args []string) error { return setup(t, command, args[0], args[1]) },
	}
	command.Flags().String("url", "", "HTTP address of any node, saved too when given")
	return command
}

// setup saves credentials, but not ones that the node refuses. A node that cannot be reached is
// no obstacle: it may be started later.
func setup(t *terminal, command *cobra.Command, key, secret string) error {
	if key == "" || secret == "" {
		return usagef("KEY and SECRET must not be empty")
	}
	g, err := openTarget(t, command)
	if err != nil {
		return err
	}
	defer g.node.Close()
	err = g.node.Call(command.Context(), client.Basic(key, secret), http.MethodGet, "/v2/applications?page_size=1", nil, nil)
	if errors.Is(err, client.ErrRefused) {
		return fmt.Errorf("nothing saved, the node at %s answers: %w", g.node.URL(""), err)
	}
	if err != nil {
		fmt.Fprintf(t.err, "Not checked yet: %s\n", err)
	}
	before, err := client.ReadCredentials(t.home)
	if err != nil {
		return err
	}
	saved := client.Credentials{URL: before.URL, APIKey: key, APISecret: secret}
	if command.Flags().Changed("url") {
		saved.URL = g.credentials.URL
	}
	path, err := saved.Write(t.home)
	if err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), map[string]string{"credentials_file": path})
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "Credentials written to %s\n", path)
	return err
}

func newAppCreate(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "app:create NAME [ANSWER_URL EVENT_URL]", Aliases: []string{"ac"}, Short: "Create an application and its key",
		Args: between(1, 3, "NAME [ANSWER_URL EVENT_URL]"),
		RunE: func(command *cobra.Command, args []string) error { return createApplication(t, command, args) },
	}
	addTargetFlags(command)
	command.Flags().String("type", "rtc", "kept from the old command line: every application can do everything")
	command.Flags().String("keyfile", "", "file to save the private key to")
	command.Flags().String("public-key", "", "file with a key of your own, public or private, in place of a new one; only its public half is sent")
	return command
}

func createApplication(t *terminal, command *cobra.Command, args []string) error {
	keyFile, err := command.Flags().GetString("keyfile")
	if err != nil {
		return err
	}
	if keyFile != "" && command.Flags().Changed("public-key") {
		return usagef("--keyfile saves a key that the node makes; with --public-key there is none")
	}
	publicKey, err := ownPublicKey(t, command)
	if err != nil {
		return fmt.Errorf("no application was created: %w", err)
	}
	g, err := openTarget(t, command)
	if err != nil {
		return err
	}
	defer g.node.Close()
	if err := canKeepApplication(t, keyFile); err != nil {
		return fmt.Errorf("no application was created: %w", err)
	}
	auth, err := g.asOperator()
	if err != nil {
		return err
	}
	answer, err := call(command.Context(), g, auth, http.MethodPost, "/v2/applications", applicationRequest(args, publicKey))
	if err != nil {
		return err
	}
	var created struct {
		ID   string
		Keys struct {
			Private string `json:"private_key"`
		}
	}
	if err := json.Unmarshal(answer, &created); err != nil || created.ID == "" || created.Keys.Private == "" && publicKey == "" {
		return errors.New("the node's answer has no id or no private key")
	}
	application := client.Application{ID: created.ID, PrivateKey: created.Keys.Private}
	return keepApplication(t, command, application, keyFile, answer)
}

// ownPublicKey gives the public half of the key that --public-key names, in PEM; empty = none is named.
func ownPublicKey(t *terminal, command *cobra.Command) (string, error) {
	name, err := command.Flags().GetString("public-key")
	if err != nil || !command.Flags().Changed("public-key") {
		return "", err
	}
	text, err := os.ReadFile(t.path(name))
	if err != nil {
		return "", fmt.Errorf("read public key: %w", err)
	}
	if private, err := jwt.ParseRSAPrivateKeyFromPEM(text); err == nil {
		public, err := auth.EncodePublicKey(&private.PublicKey)
		if err != nil {
			return "", err
		}
		text = []byte(public)
	}
	key, err := auth.ParsePublicKey(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return auth.EncodePublicKey(key) // the file may hold the private half too, behind the public one
}

// canKeepApplication looks before the application is made whether its key can be saved: the node
// tells it only once.
func canKeepApplication(t *terminal, keyFile string) error {
	if err := client.CanWriteApplication(t.dir); err != nil || keyFile == "" {
		return err
	}
	path := t.path(keyFile)
	if err := client.CanWriteSecret(path); err != nil {
		return err
	}
	return client.CanWriteSecret(aside(path))
}

// applicationRequest is the body that creates an application; without publicKey the node makes a pair.
func applicationRequest(args []string, publicKey string) map[string]any {
	webhook := func(address, method string) map[string]string {
		return map[string]string{"address": address, "http_method": method}
	}
	request := map[string]any{"name": args[0]}
	if publicKey != "" {
		request["keys"] = map[string]string{"public_key": publicKey}
	}
	webhooks := map[string]any{}
	capabilities := map[string]any{"rtc": map[string]any{"webhooks": webhooks}}
	if len(args) > 2 {
		webhooks["event_url"] = webhook(args[2], http.MethodPost)
	}
	if len(args) > 1 {
		capabilities["voice"] = map[string]any{"webhooks": map[string]any{"answer_url": webhook(args[1], http.MethodGet)}}
	}
	request["capabilities"] = capabilities
	return request
}

// keepApplication saves what is told only once, and says where. The key is saved first: a lost
// key cannot be had again. keyFile is empty when nobody asked for one.
func keepApplication(t *terminal, command *cobra.Command, a client.Application, keyFile string, answer json.RawMessage) error {
	if keyFile != "" {
		if err := keepKey(t, keyFile, a.PrivateKey); err != nil {
			return fmt.Errorf("application %s was created, but its key is lost: %w", a.ID, err)
		}
	}
	path, existed, err := a.Write(t.dir)
	if err != nil {
		return fmt.Errorf("application %s was created, but is not recorded: %w", a.ID, err)
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	switch {
	case flagSet(command, "json"):
		return printJSON(command.OutOrStdout(), map[string]string{"id": a.ID, "config_file": path, "private_key_file": keyFile})
	case flagSet(command, "verbose"):
		return printLeaves(command.OutOrStdout(), withoutKey(answer))
	}
	fmt.Fprintf(command.OutOrStdout(), "Application created: %s\n", a.ID)
	if existed {
		fmt.Fprintln(command.OutOrStdout(), "Existing config found. Overwriting file.")
	} else {
		fmt.Fprintln(command.OutOrStdout(), "No existing config found. Writing to new file.")
	}
	fmt.Fprintf(command.OutOrStdout(), "Credentials written to %s\n", path)
	if keyFile != "" {
		fmt.Fprintf(command.OutOrStdout(), "Private Key saved to: %s\n", keyFile)
	}
	return nil
}

// keepKey writes the key. A file that is there already is moved aside, because it may be the
// only copy of another application's key.
func keepKey(t *terminal, name, pem string) error {
	path := t.path(name)
	if _, err := os.Stat(path); err == nil {
		if err := os.Rename(path, aside(path)); err != nil {
			return fmt.Errorf("move the existing key aside: %w", err)
		}
		fmt.Fprintf(t.err, "The earlier key was moved to %s\n", aside(name))
	}
	return client.WriteSecret(path, []byte(pem))
}

// aside is where a key file goes that stands where a new one is to be.
func aside(path string) string { return path + ".old" }

// withoutKey is the answer fit for a screen.
func withoutKey(answer json.RawMessage) json.RawMessage {
	var object map[string]any
	if json.Unmarshal(answer, &object) != nil {
		return json.RawMessage("{}")
	}
	if keys, ok := object["keys"].(map[string]any); ok {
		delete(keys, "private_key")
		delete(keys, "webhook_secret")
	}
	clean, err := json.Marshal(object)
	if err != nil {
		return json.RawMessage("{}")
	}
	return clean
}
