package node

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"parley/edge/admin"
	"parley/edge/auth"
	"parley/edge/console"
	"parley/edge/gate"
	"parley/edge/limit"
	"parley/edge/media"
	"parley/edge/media/objects"
	"parley/edge/receipt"
	"parley/edge/rest"
	"parley/edge/server"
	"parley/edge/socketio"
	"parley/edge/ws"
)

// spoolDir is where uploads wait, within the data directory. Its files have no names.
const spoolDir = "spool"

// doors are what every way into the node checks its callers with.
type doors struct {
	verifier  *auth.Verifier
	operators *auth.Keys
	limits    *limit.Limits
}

// openEdge opens the node to operators, and to clients if it has the role.
func (n *Node) openEdge(ctx context.Context) error {
	d, err := n.openDoors()
	if err != nil {
		return err
	}
	h := server.Handlers{Ready: n.ready}
	if h.Cluster, err = admin.New(n.runtime, d.operators, n.options.Logger); err != nil {
		return err
	}
	if n.hub != nil {
		if err := n.openClients(ctx, d, &h); err != nil {
			return err
		}
	}
	n.server.Mount(h)
	return nil
}

// ready says whether the node serves, and if not, why. A new cluster serves nobody before it has
// credentials.
func (n *Node) ready() (ready bool, why string) {
	if ready, why = n.runtime.Ready(); ready && !n.settled.Load() {
		return false, "the first credentials are not stored yet"
	}
	return ready, why
}

// openClients adds what serves clients.
func (n *Node) openClients(ctx context.Context, d doors, h *server.Handlers) (err error) {
	if err := n.openSockets(context.WithoutCancel(ctx), d); err != nil {
		return err
	}
	h.Realtime, h.Sockets = n.realtime, n.legacy
	if h.Images, err = n.openImages(d); err != nil {
		return err
	}
	r := rest.DefaultOptions()
	r.Logger, r.Registerer = n.options.Logger, n.metrics
	h.API, err = rest.New(rest.Parts{Cluster: n.runtime.API(), Verifier: d.verifier, Keys: d.operators, Limits: d.limits,
		Sessions: n.runtime, Refresher: n.runtime, Targets: n.targets}, r)
	if err != nil {
		return err
	}
	h.Demo, err = console.New(console.Options{Session: n.options.Demo, Logger: n.options.Logger})
	return err
}

func (n *Node) openDoors() (d doors, err error) {
	a := auth.DefaultOptions()
	a.Registerer = n.metrics
	if d.verifier, err = auth.New(n.runtime.API(), a); err != nil {
		return d, fmt.Errorf("open auth: %w", err)
	}
	if d.operators, err = auth.NewKeys(n.runtime.API(), a); err != nil {
		return d, fmt.Errorf("open auth: %w", err)
	}
	l := limit.DefaultOptions()
	l.Registerer = n.metrics
	if d.limits, err = limit.New(l); err != nil {
		return d, fmt.Errorf("open limits: %w", err)
	}
	return d, nil
}

// openSockets opens the native protocol and that of the official SDKs.
func (n *Node) openSockets(ctx context.Context, d doors) (err error) {
	cluster := n.runtime.API()
	q := receipt.DefaultOptions()
	q.Registerer = n.metrics
	if n.receipts, err = receipt.New(ctx, cluster, q); err != nil {
		return err
	}
	g := gate.DefaultOptions()
	g.Registerer = n.metrics
	if n.gate, err = gate.New(ctx, g); err != nil {
		return err
	}
	w := ws.DefaultOptions()
	w.Node, w.Logger = n.name, n.options.Logger
	n.realtime, err = ws.New(ctx, ws.Parts{Cluster: cluster, Sockets: n.sockets, Hub: n.hub, Verifier: d.verifier, Limits: d.limits,
		Receipts: n.receipts, Gate: n.gate}, w)
	if err != nil {
		return err
	}
	s := socketio.DefaultOptions()
	s.Logger, s.Registerer = n.options.Logger, n.metrics
	n.legacy, err = socketio.New(ctx, socketio.Parts{Cluster: cluster, Sockets: n.sockets, Hub: n.hub, Verifier: d.verifier, Limits: d.limits,
		Receipts: n.receipts, Gate: n.gate}, s)
	return err
}

func (n *Node) openImages(d doors) (http.Handler, error) {
	m := media.DefaultOptions()
	m.SpoolDir, m.Logger, m.Registerer = filepath.Join(n.options.Settings.DataDir, spoolDir), n.options.Logger, n.metrics
	if err := os.MkdirAll(m.SpoolDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for uploads: %w", err)
	}
	parts := media.Parts{Cluster: n.runtime.API(), Verifier: d.verifier, Limits: d.limits}
	if n.objects != nil {
		parts.Objects = n.objects
	}
	return media.New(parts, m)
}

// openObjects connects the S3 store, when one is configured. A wrong one is told at once.
func (n *Node) openObjects(ctx context.Context) (err error) {
	o, ok := n.options.Settings.Objects()
	if !ok {
		return nil
	}
	if n.objects, err = objects.New(o); err != nil {
		return err
	}
	return n.objects.Check(ctx)
}
