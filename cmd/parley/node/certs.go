package node

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/runtime"
	"parley/cluster/certs"
)

// certsEvery is how often certificate files are read again: a renewed one is in use within it.
const certsEvery = time.Minute

// protect makes the node speak to others by certificate and in cipher only, when it is given a
// directory of certificates.
func (n *Node) protect(o *runtime.Options) (err error) {
	dir := n.options.Settings.CertsDir
	if dir == "" {
		return nil
	}
	if n.certs, err = certs.Open(certs.FilesIn(dir), time.Now); err != nil {
		return fmt.Errorf("certs-dir: %w", err)
	}
	if n.certs.Node() != n.name {
		return fmt.Errorf("certs-dir: the certificate in %s is that of node %s, but this is node %s: start it with --node-name %s",
			dir, n.certs.Node(), n.name, n.certs.Node())
	}
	if o.Membership.Keys, err = certs.GossipKeys(dir); err != nil {
		return fmt.Errorf("certs-dir: %w", err)
	}
	o.Transport.TLS, o.System.TLS = n.certs.Config(), n.certs.Config()
	return n.metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_certs_expiry_timestamp_seconds",
		Help: "When the node's certificate in use ends, in Unix time.",
	}, func() float64 { return float64(n.certs.Expires().Unix()) }))
}

// renew reads the files of certificates and gossip keys again, every minute and when the operator asks,
// until ctx ends. Files that are not good are told, and what was read before stays in use.
func (n *Node) renew(ctx context.Context) {
	if n.certs == nil {
		return
	}
	every := time.NewTicker(certsEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-n.options.Reload:
		}
		n.renewCertificates()
		n.renewGossip()
	}
}

func (n *Node) renewCertificates() {
	before := n.certs.Expires()
	err := n.certs.Reload()
	until := n.certs.Expires()
	switch {
	case err != nil:
		n.options.Logger.Error("certificates were not renewed", "in use until", until, "error", err)
	case !until.Equal(before):
		n.options.Logger.Info("certificates were renewed", "in use until", until)
	}
}

func (n *Node) renewGossip() {
	keys, err := certs.GossipKeys(n.options.Settings.CertsDir)
	changed := false
	if err == nil {
		changed, err = n.runtime.SetGossipKeys(keys)
	}
	switch {
	case err != nil:
		n.options.Logger.Error("gossip keys were not changed", "error", err)
	case changed:
		n.options.Logger.Info("gossip keys were changed", "encrypts", certs.Fingerprint(keys[0]), "known", len(keys))
	}
}
