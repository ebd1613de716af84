package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"parley/actors/driver"
	"parley/cmd/parley/client"
	"parley/cmd/parley/node"
	"parley/cmd/parley/settings"
)

// anyPort is what `parley dev` uses between nodes, so that it can run beside another node.
const anyPort = "127.0.0.1:0"

func newDev(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "dev", Short: "Start a node with a demo: two users, a conversation, tokens",
		Long: "Start a node in a temporary directory (or --data-dir), with an application, two users in one conversation, and\n" +
			"tokens. The demo page needs no credentials then. Only for this machine: the HTTP address must be loopback.",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return dev(t, command) },
	}
	settings.Flags(command.Flags())
	command.Flags().Int("nodes", 1, "how many nodes, 1 or 3 to 9, each a process of its own; the others keep their data and logs below the first one's")
	return command
}

func dev(t *terminal, command *cobra.Command) (err error) {
	if !signal.Ignored(syscall.SIGHUP) { // by nohup, say
		ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGHUP) // the terminal was closed
		defer stop()
		command.SetContext(ctx)
	}
	loaded, err := loadSettings(t, command)
	if err != nil {
		return err
	}
	s, cleanup, err := devSettings(loaded)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	kept, err := readDemo(s.DataDir)
	if err != nil {
		return err
	}
	s.APIKey, s.APISecret = kept.APIKey, kept.APISecret
	nodes, err := command.Flags().GetInt("nodes")
	if err != nil || nodes < 1 || nodes == 2 || nodes > fleetMax {
		return usagef("nodes: must be 1, or 3 to %d; two tolerate no more than one does", fleetMax)
	}
	d := &demo{clock: t.now}
	n, err := open(t, command.Context(), node.Options{Settings: s, Demo: d.session})
	if err != nil {
		return err
	}
	if err := d.start(command.Context(), n, s.DataDir, kept); err != nil {
		return errors.Join(err, n.Close())
	}
	// Not before: the first node that finds no credentials makes some, which only it knows.
	others, err := startFleet(t, s, n.Addresses().Gossip, nodes)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	defer func() { err = errors.Join(err, others.Close()) }()
	operator := node.Credentials{APIKey: d.kept.APIKey, APISecret: d.kept.APISecret}
	if err := others.await(command.Context(), newDisplay(t), n.Addresses().HTTPURL(), operator); err != nil {
		return errors.Join(err, n.Close())
	}
	if err := announceDemo(command, n, d, others.urls(), s.DataDir); err != nil {
		return errors.Join(err, n.Close())
	}
	return n.Run(command.Context())
}

// devSettings are the loaded ones, but for what nobody set: a directory that goes away again, and
// free ports between nodes.
func devSettings(loaded settings.Loaded) (settings.Settings, func() error, error) {
	s := loaded.Settings
	for name, address := range map[string]*string{"gossip-addr": &s.GossipAddr, "rpc-addr": &s.RPCAddr, "raft-addr": &s.RaftAddr} {
		if loaded.Source(name) == settings.FromDefault {
			*address = anyPort
		}
	}
	if loaded.Source("log-level") == settings.FromDefault {
		s.LogLevel = "warn" // the tokens on the screen are what matters
	}
	if loaded.Source("webhook-allow") == settings.FromDefault {
		s.WebhookAllow = []string{"localhost", "127.0.0.0/8", "::1"} // where its user's own server runs
	}
	if err := onlyLoopback(s.HTTPAddr); err != nil {
		return s, nil, err
	}
	if !s.HasRole(driver.RoleEdge) || !s.HasRole(driver.RoleShards) {
		return s, nil, usagef("roles: the demo's node keeps data and serves clients")
	}
	if loaded.Source("data-dir") != settings.FromDefault {
		dir, err := filepath.Abs(s.DataDir)
		s.DataDir = dir
		return s, func() error { return nil }, err
	}
	dir, err := os.MkdirTemp("", "parley-dev-")
	if err != nil {
		return s, nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	s.DataDir = dir
	return s, func() error { return os.RemoveAll(dir) }, nil
}

// announceDemo prints everything that a person or a script needs to try the API.
func announceDemo(command *cobra.Command, n *node.Node, d *demo, others []string, dataDir string) error {
	url, w := n.Addresses().HTTPURL(), command.OutOrStdout()
	shown, err := d.show(url)
	if err != nil {
		return err
	}
	shown.OtherURLs = others
	if flagSet(command, "json") {
		return printJSON(w, shown)
	}
	printPlaces(w, n, dataDir)
	for _, other := range others {
		fmt.Fprintf(w, "  Another node %s/demo\n", other)
	}
	fmt.Fprintf(w, "\n  API key      %s\n  API secret   %s\n", shown.APIKey, shown.APISecret)
	fmt.Fprintf(w, "\n  Application  %s\n  Private key  %s\n  Conversation %s\n", shown.ApplicationID, shown.PrivateKeyFile, shown.ConversationID)
	for _, u := range shown.Users {
		fmt.Fprintf(w, "\n  Token of %s (%s):\n%s\n", u.Name, u.ID, u.Token)
	}
	_, err = fmt.Fprintf(w, "\n  Administrator's token:\n%s\n\nOpen %s/demo to chat. Stop with Ctrl-C.\n", shown.AdminToken, url)
	return err
}

// demoUsers are in the demo's conversation.
func demoUsers() []string { return []string{"alice", "bob"} }

// create makes the demo through the public API, as anybody would.
func (d *demo) create(ctx context.Context, c *client.Client, dataDir string, kept keptDemo) (keptDemo, error) {
	var application struct {
		ID   string
		Keys struct {
			Private string `json:"private_key"`
		}
	}
	operator := client.Basic(kept.APIKey, kept.APISecret)
	if err := c.Call(ctx, operator, "POST", "/v2/applications", map[string]any{"name": "Parley demo"}, &application); err != nil {
		return kept, fmt.Errorf("create the demo's application: %w", err)
	}
	kept.ApplicationID = application.ID
	kept.PrivateKeyFile = filepath.Join(dataDir, "private.key")
	if err := client.WriteSecret(kept.PrivateKeyFile, []byte(application.Keys.Private)); err != nil {
		return kept, err
	}
	token, err := client.Application{ID: application.ID, PrivateKey: application.Keys.Private}.AdminToken(d.clock())
	if err != nil {
		return kept, err
	}
	kept.Users, kept.ConversationID, err = converse(ctx, c, client.Bearer(token))
	return kept, err
}

// converse makes the users and the conversation with both in it.
func converse(ctx context.Context, c *client.Client, admin client.Authorization) ([]keptUser, string, error) {
	var made struct{ ID string }
	if err := c.Call(ctx, admin, "POST", "/v1/conversations", map[string]string{"name": "demo", "display_name": "Demo"}, &made); err != nil {
		return nil, "", fmt.Errorf("create the demo's conversation: %w", err)
	}
	conversation := made.ID
	var users []keptUser
	for _, name := range demoUsers() {
		if err := c.Call(ctx, admin, "POST", "/v1/users", map[string]string{"name": name}, &made); err != nil {
			return nil, "", fmt.Errorf("create %s: %w", name, err)
		}
		users = append(users, keptUser{ID: made.ID, Name: name})
		join := map[string]any{"state": "joined", "user": map[string]string{"id": made.ID}, "channel": map[string]string{"type": "app"}}
		if err := c.Call(ctx, admin, "POST", "/v1/conversations/"+conversation+"/members", join, nil); err != nil {
			return nil, "", fmt.Errorf("join %s: %w", name, err)
		}
	}
	return slices.Clip(users), conversation, nil
}
