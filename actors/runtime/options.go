package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/api"
	"parley/actors/blob/sweep"
	"parley/actors/driver"
	"parley/actors/fanout"
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/actors/push"
	"parley/actors/system"
	"parley/actors/webhook"
	"parley/cluster/membership"
	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/cluster/version"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// Options are what a node is made of. Start from DefaultOptions; NodeName and DataDir, Logger and
// Metrics have no default.
type Options struct {
	// DataDir holds the node's store. An empty one without Join becomes a new cluster; one that
	// holds a store goes on where it was, whatever else is said here.
	DataDir string
	// NodeName is the node's name in its cluster; a store keeps the name it was first given.
	NodeName string
	// GossipAddr, RPCAddr and RaftAddr are where the node listens, host:port; port 0 takes a free
	// one, which Addresses tells.
	GossipAddr, RPCAddr, RaftAddr string
	// AdvertiseHost is the host that other nodes are told to dial, with the ports of the listening
	// addresses; empty = the hosts of these addresses, none of which may be a wildcard then.
	AdvertiseHost string
	// HTTPAddr is told to other nodes; the runtime does not listen on it.
	HTTPAddr string
	// Join are gossip addresses of other nodes. With them an empty node never makes a cluster: it
	// waits until it finds one. For a node that has data they are only a hint.
	Join []string
	// Roles are what the node does: driver.RoleEdge, driver.RoleShards; none = both.
	Roles []string
	// Versions are the cluster versions that the node speaks.
	Versions version.Range
	// Shards is the number of data shards of a new cluster, fixed for its life.
	Shards uint32
	// Edge is this node's edge; nil for a node without clients.
	Edge fanout.Edge
	// Sessions lists a user's sessions on this node's edge; nil for a node without clients.
	Sessions func(ctx context.Context, application, user string) ([]string, error)
	// Connected lists those of a user's sessions that are connected to this node's edge, and lets go of
	// the one that moves; nil for a node without clients.
	Connected func(application string, q *nodev1.ListSessions) *nodev1.Reply
	// Live gives those of the users that are connected to this node's edge; nil for a node without clients.
	Live func(application string, users []string) []string
	// Renew lets a session of this node's edge go on with another token; nil for a node without
	// clients. A session that is not there is code.SessionNotFound.
	Renew func(ctx context.Context, renew *nodev1.RenewSession) error
	// PassivateAfter is how long a grain without commands stays in memory.
	PassivateAfter time.Duration
	// Objects is the object store of external blobs; nil for a node without one.
	Objects sweep.Objects
	// QueryWorkers is how many queries are read at once.
	QueryWorkers int

	// Now is the wall clock: what is dated is dated by it. Nothing waits by it, and it may be set back.
	Now func() time.Time

	Logger  *slog.Logger
	Metrics prometheus.Registerer

	// The tunables of the parts. What the runtime knows better (names, addresses, dependencies,
	// loggers, registerers) it fills in.
	Store      store.Options
	Host       shard.Options
	Transport  transport.TCPOptions
	Membership membership.Options
	System     system.Options
	Grain      grain.Options
	Outbox     outbox.Options
	Fanout     fanout.Options
	API        api.Options
	Driver     driver.Options
	Push       push.Options    // without Senders devices are not told
	Webhook    webhook.Options // without a Guard only the public internet is reached
	Sweep      sweep.Options
}

// DefaultOptions are for a production node on the loopback interface.
func DefaultOptions() Options {
	return Options{
		GossipAddr: "127.0.0.1:0", RPCAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0",
		Versions: version.Spoken(), Shards: 64, PassivateAfter: time.Minute, QueryWorkers: 8, Now: time.Now,
		Store: store.DefaultOptions(), Host: shard.DefaultOptions(), Transport: transport.DefaultTCPOptions(),
		Membership: membership.DefaultOptions(),
		System:     system.DefaultOptions(), Grain: grain.DefaultOptions(), Outbox: outbox.DefaultOptions(), Push: push.DefaultOptions(),
		Webhook: webhook.DefaultOptions(),
		Fanout:  fanout.DefaultOptions(), API: api.DefaultOptions(),
		Driver: driver.DefaultOptions(), Sweep: sweep.DefaultOptions(),
	}
}

// ShardsMax is the largest number of data shards of a cluster.
const ShardsMax = 1024

// Validate says what is wrong with the options; the parts check their own.
func (o *Options) Validate() error {
	switch {
	case o.DataDir == "":
		return errors.New("a data directory is needed")
	case o.NodeName == "":
		return errors.New("a node name is needed")
	case o.Logger == nil || o.Metrics == nil || o.Now == nil:
		return errors.New("logger, metrics and clock are needed")
	case o.Shards == 0 || o.Shards > ShardsMax:
		return errors.New("shards must be 1 to 1024")
	case len(o.Roles) > 0 && driver.CheckRoles(o.Roles) != nil:
		return fmt.Errorf("roles: %w", driver.CheckRoles(o.Roles))
	case !o.Versions.Valid():
		return errors.New("versions must be a range")
	case o.PassivateAfter < 0 || o.QueryWorkers < 1:
		return errors.New("passivation and query workers must be positive")
	}
	return nil
}

// keepsShards says whether the node is to hold replicas.
func (o *Options) keepsShards() bool {
	return len(o.Roles) == 0 || slices.Contains(o.Roles, driver.RoleShards)
}

// fill gives the parts what the runtime knows.
func (o *Options) fill(shards uint32) {
	o.Grain.Shards, o.Grain.Logger = shards, o.Logger
	o.Host.Node, o.Host.Logger, o.Host.Metrics = o.NodeName, o.Logger, o.Metrics
	o.System.AdvertiseAddr = o.advertised(o.RPCAddr)
	o.System.NodeName, o.System.ListenAddr, o.System.Logger, o.System.Metrics = o.NodeName, o.RPCAddr, o.Logger, o.Metrics
	o.Outbox.Logger, o.Outbox.Metrics = o.Logger, o.Metrics
	o.Fanout.Node, o.Fanout.Shards = o.NodeName, shards
	o.Fanout.Logger, o.Fanout.Metrics = o.Logger, o.Metrics
	o.API.Node, o.API.Shards, o.API.Logger = o.NodeName, shards, o.Logger
	o.API.Metrics = o.Metrics
	o.Driver.Logger, o.Driver.Metrics = o.Logger, o.Metrics
	o.Sweep.Objects, o.Sweep.Logger, o.Sweep.Metrics = o.Objects, o.Logger, o.Metrics
}

// advertised is the address by which others reach what listens on bound, "" when that is bound itself.
func (o *Options) advertised(bound string) string {
	_, port, err := net.SplitHostPort(bound)
	if o.AdvertiseHost == "" || err != nil {
		return ""
	}
	return net.JoinHostPort(o.AdvertiseHost, port)
}
