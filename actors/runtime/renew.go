package runtime

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// renewWithin bounds how long the other nodes may take to look for a session.
const renewWithin = 5 * time.Second

// localRenew gives a session of this node's edge another token.
func (r *Runtime) localRenew(ctx context.Context, renew *nodev1.RenewSession) error {
	if r.options.Renew == nil {
		return errNoSession()
	}
	return r.options.Renew(ctx, renew)
}

func errNoSession() error { return code.New(code.SessionNotFound, "No such session is connected.") }

// RenewSession lets a session of any edge go on with a newer token of its user: the request for it
// may reach another node than the session's connection did. A session that no edge has is
// code.SessionNotFound; if a node did not answer it is code.Unavailable, because it may be there.
func (r *Runtime) RenewSession(ctx context.Context, renew *nodev1.RenewSession) error {
	err := r.localRenew(ctx, renew)
	if !code.Has(err, code.SessionNotFound) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	req := &nodev1.GrainRequest{Query: &nodev1.Query{Body: &nodev1.Query_RenewSession{RenewSession: renew}}}
	nodes := r.members.View().Nodes
	answers := make([]error, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		if n.Name == r.options.NodeName || n.Meta.RPC == "" {
			answers[i] = err
			continue
		}
		g.Go(func() error {
			if _, answers[i] = r.request(ctx, n.Name, req); answers[i] == nil {
				cancel() // nobody else can have it
			}
			return nil
		})
	}
	_ = g.Wait() // its functions keep their errors themselves
	return renewed(answers)
}

// renewed sums the nodes' answers up: one that has the session decides, and one that cannot say
// whether it has leaves it open.
func renewed(answers []error) error {
	refused, silent := error(nil), false
	for _, err := range answers {
		e, coded := code.Of(err)
		switch {
		case err == nil:
			return nil
		case !coded, e.Code == code.Unavailable:
			silent = true
		case e.Code != code.SessionNotFound && e.Code != code.NotAvailable:
			refused = err
		}
	}
	switch {
	case refused != nil:
		return refused
	case silent:
		return code.New(code.Unavailable, "A node that may have the session did not answer; try again.")
	}
	return errNoSession()
}
