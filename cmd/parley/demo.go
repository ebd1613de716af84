package main

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"parley/cmd/parley/client"
	"parley/cmd/parley/node"
	"parley/cmd/parley/settings"
	"parley/edge/console"
)

const (
	demoFile      = "demo.json"
	pageTokenLife = time.Hour      // the page asks again at every connection
	demoTokenLife = 24 * time.Hour // the longest that is accepted; for tokens that are printed
)

// keptDemo is what survives a restart of `parley dev` on the same directory.
type keptDemo struct {
	APIKey         string     `json:"api_key"`
	APISecret      string     `json:"api_secret"`
	ApplicationID  string     `json:"application_id"`
	PrivateKeyFile string     `json:"private_key_file"`
	ConversationID string     `json:"conversation_id"`
	Users          []keptUser `json:"users"`
}

type keptUser struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Token string `json:"token,omitempty"` // only when shown
}

// shownDemo is what `parley dev --json` prints.
type shownDemo struct {
	HTTPURL string `json:"http_url"`
	DemoURL string `json:"demo_url"`
	// OtherURLs are the further nodes of --nodes.
	OtherURLs []string `json:"other_urls,omitempty"`
	keptDemo
	AdminToken string `json:"admin_token"`
}

// demo makes and keeps the demo, and signs its tokens.
type demo struct {
	clock func() time.Time

	mu   sync.Mutex // guards the rest: the page may ask before the demo is there
	kept keptDemo
	key  *rsa.PrivateKey
}

var errNoDemoYet = errors.New("the demo is still being made")

func readDemo(dir string) (keptDemo, error) {
	var kept keptDemo
	text, err := os.ReadFile(filepath.Join(dir, demoFile))
	if os.IsNotExist(err) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("read the demo of %s: %w", dir, err)
	}
	return kept, nil
}

// start makes the demo unless it is kept from an earlier run.
func (d *demo) start(ctx context.Context, n *node.Node, dataDir string, kept keptDemo) error {
	if kept.ApplicationID == "" {
		credentials := n.Credentials()
		if credentials.APISecret == "" {
			return fmt.Errorf("%s holds a node's data but no demo: use 'parley serve', or another --data-dir", dataDir)
		}
		kept.APIKey, kept.APISecret = credentials.APIKey, credentials.APISecret
		c, err := client.New(n.Addresses().HTTPURL())
		if err != nil {
			return err
		}
		defer c.Close()
		if kept, err = d.create(ctx, c, dataDir, kept); err != nil {
			return err
		}
		text, err := json.MarshalIndent(kept, "", "  ")
		if err != nil {
			return fmt.Errorf("keep the demo: %w", err)
		}
		if err := client.WriteSecret(filepath.Join(dataDir, demoFile), text); err != nil {
			return err
		}
	}
	pem, err := os.ReadFile(kept.PrivateKeyFile)
	if err != nil {
		return fmt.Errorf("read the demo's key: %w", err)
	}
	key, err := client.ParseKey(string(pem))
	if err != nil {
		return fmt.Errorf("%s: %w", kept.PrivateKeyFile, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept, d.key = kept, key
	return nil
}

// session gives the page fresh tokens.
func (d *demo) session(context.Context) (console.Session, error) {
	d.mu.Lock()
	kept, key := d.kept, d.key
	d.mu.Unlock()
	if key == nil {
		return console.Session{}, errNoDemoYet
	}
	s := console.Session{ApplicationID: kept.ApplicationID, ConversationID: kept.ConversationID}
	for _, u := range kept.Users {
		token, err := d.userToken(u.Name, pageTokenLife)
		if err != nil {
			return s, err
		}
		s.Users = append(s.Users, console.User{ID: u.ID, Name: u.Name, Token: token})
	}
	return s, nil
}

func (d *demo) userToken(name string, life time.Duration) (string, error) {
	now := d.clock()
	return client.Sign(d.key, now, client.UserClaims(d.kept.ApplicationID, name, now, life))
}

// show is everything, tokens included.
func (d *demo) show(url string) (shownDemo, error) {
	shown := shownDemo{HTTPURL: url, DemoURL: url + "/demo", keptDemo: d.kept}
	shown.Users = nil
	for _, u := range d.kept.Users {
		token, err := d.userToken(u.Name, demoTokenLife)
		if err != nil {
			return shown, err
		}
		shown.Users = append(shown.Users, keptUser{ID: u.ID, Name: u.Name, Token: token})
	}
	now := d.clock()
	var err error
	shown.AdminToken, err = client.Sign(d.key, now, client.AdminClaims(d.kept.ApplicationID, now, demoTokenLife))
	return shown, err
}

// onlyLoopback: tokens are given to whoever opens the page.
func onlyLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !settings.IsLoopback(host) {
		return usagef("http-addr %s: 'parley dev' gives tokens to everybody who reaches it, so it may only use a loopback address; use 'parley serve'", address)
	}
	return nil
}
