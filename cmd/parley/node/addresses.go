package node

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// AddressesFile tells programs on the same machine which ports were taken.
const AddressesFile = "addresses.json"

// Addresses are where a node listens, with the ports that were taken: host:port each.
type Addresses struct {
	HTTP   string `json:"http"`
	Gossip string `json:"gossip"`
	RPC    string `json:"rpc"`
	Raft   string `json:"raft"`
	Admin  string `json:"admin,omitempty"`
}

// HTTPURL is where a person or a client on this machine finds what the node serves.
func (a Addresses) HTTPURL() string { return nearby(a.HTTP) }

// AdminURL is where a person on this machine finds health and metrics once more; empty = nowhere.
func (a Addresses) AdminURL() string {
	if a.Admin == "" {
		return ""
	}
	return nearby(a.Admin)
}

// nearby is the URL by which this machine reaches an address of its own.
func nearby(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "http://" + address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // every address of this machine, so also this one
	}
	return "http://" + net.JoinHostPort(host, port)
}

// reachedBy is where other machines find HTTP: at the advertised host, when there is one.
func (a Addresses) reachedBy(host string) string {
	_, port, err := net.SplitHostPort(a.HTTP)
	if host == "" || err != nil {
		return a.HTTP
	}
	return net.JoinHostPort(host, port)
}

// write leaves the addresses in the data directory. A reader sees all of them or the file of the
// run before.
func (a Addresses) write(dir string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	path := filepath.Join(dir, AddressesFile)
	next := path + ".next"
	if err := os.WriteFile(next, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return nil
}
