// Package settings is how a node is configured: built-in defaults, then the configuration file,
// then PARLEY_… variables, then flags; the later one wins. One setting has one name everywhere:
// the flag --http-addr is the variable PARLEY_HTTP_ADDR and the file's key http-addr.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/edge/media/objects"
	"parley/internal/guard"
	"parley/internal/telemetry"
)

// Settings configure one node. The zero value is not valid; start from Default.
type Settings struct {
	DataDir    string   `koanf:"data-dir"`   // everything a node keeps
	HTTPAddr   string   `koanf:"http-addr"`  // clients: REST, realtime, demo, docs
	AdminAddr  string   `koanf:"admin-addr"` // health and metrics once more; empty = not
	GossipAddr string   `koanf:"gossip-addr"`
	RPCAddr    string   `koanf:"rpc-addr"`  // grain calls between nodes
	RaftAddr   string   `koanf:"raft-addr"` // replication between nodes
	Join       []string `koanf:"join"`      // gossip addresses; only a hint when the node has data
	NodeName   string   `koanf:"node-name"` // unique in the cluster; empty = derived once and kept
	Roles      []string `koanf:"roles"`     // driver.RoleEdge, driver.RoleShards, or both
	Shards     int      `koanf:"shards"`    // of a new cluster, for its life; a node that joins or has data takes the cluster's

	// AdvertiseHost is the name or IP that others reach this node by; empty = the hosts of the
	// addresses themselves, none of which may then be a wildcard.
	AdvertiseHost string `koanf:"advertise-host"`

	CertsDir string `koanf:"certs-dir"` // what 'parley certs issue' made for this node; empty = plain text

	APIKey    string `koanf:"api-key"` // first credentials, used at the first start only
	APISecret string `koanf:"api-secret"`

	// Where the bytes of images are kept; without a bucket, in the cluster.
	S3Endpoint  string `koanf:"s3-endpoint"` // empty = Amazon's for the region
	S3Region    string `koanf:"s3-region"`
	S3Bucket    string `koanf:"s3-bucket"` // must exist
	S3Prefix    string `koanf:"s3-prefix"` // before every object's name
	S3AccessKey string `koanf:"s3-access-key"`
	S3SecretKey string `koanf:"s3-secret-key"`

	Push Push `koanf:",squash"`

	TrustedProxies []string      `koanf:"trusted-proxies"`  // load balancers: addresses and prefixes
	WebhookAllow   []string      `koanf:"webhook-allow"`    // what webhooks may reach beside the public internet
	DeliveryMaxAge time.Duration `koanf:"delivery-max-age"` // of an event that a webhook or push service does not take

	// MinFreeSpace is how much of the data directory's file system stays free: a number of bytes with a
	// unit, or "auto". Below it nothing new is stored here.
	MinFreeSpace string `koanf:"min-free-space"`

	LogLevel      string        `koanf:"log-level"`
	LogFormat     string        `koanf:"log-format"`
	ShutdownGrace time.Duration `koanf:"shutdown-grace"` // to answer what is in flight
	// ShutdownDelay is how long a stopping node goes on as before but for /readyz, for load balancers
	// to notice; within the grace.
	ShutdownDelay time.Duration `koanf:"shutdown-delay"`
}

// Default is one node on this machine, without any other service.
func Default() Settings {
	return Settings{
		DataDir:        "./data",
		HTTPAddr:       "127.0.0.1:4280",
		GossipAddr:     "127.0.0.1:4281",
		RPCAddr:        "127.0.0.1:4282",
		RaftAddr:       "127.0.0.1:4283",
		Roles:          []string{driver.RoleEdge, driver.RoleShards},
		Shards:         64,
		S3Region:       "us-east-1",
		S3Prefix:       "parley/",
		Push:           defaultPush(),
		DeliveryMaxAge: 24 * time.Hour,
		MinFreeSpace:   autoSize,
		LogLevel:       "info",
		LogFormat:      string(telemetry.FormatText),
		ShutdownGrace:  10 * time.Second,
	}
}

// nodeNameLenMax bounds a node's name, in bytes.
const nodeNameLenMax = 64

// shutdownGraceMax keeps a stop from looking like a hang.
const shutdownGraceMax = 10 * time.Minute

// Validate says everything that is wrong, one line each, by the names the operator typed.
func (s Settings) Validate() error {
	var errs []error
	if s.DataDir == "" {
		errs = append(errs, errors.New("data-dir is empty: name the directory that holds the node's data"))
	}
	if (s.APIKey == "") != (s.APISecret == "") {
		errs = append(errs, errors.New("api-key and api-secret belong together: set both or none"))
	}
	if s.ShutdownGrace < 0 || s.ShutdownGrace > shutdownGraceMax {
		errs = append(errs, fmt.Errorf("shutdown-grace %s: must be between 0s and %s", s.ShutdownGrace, shutdownGraceMax))
	}
	if s.ShutdownDelay < 0 || s.ShutdownDelay > s.ShutdownGrace/2 {
		errs = append(errs, fmt.Errorf("shutdown-delay %s: must be between 0s and half of shutdown-grace, %s", s.ShutdownDelay, s.ShutdownGrace/2))
	}
	if err := CheckNodeName(s.NodeName); err != nil && s.NodeName != "" {
		errs = append(errs, fmt.Errorf("node-name %w", err))
	}
	if err := driver.CheckRoles(s.Roles); err != nil {
		errs = append(errs, fmt.Errorf("roles: %w", err))
	}
	if s.Shards < 1 || s.Shards > runtime.ShardsMax {
		errs = append(errs, fmt.Errorf("shards %d: must be 1 to %d", s.Shards, runtime.ShardsMax))
	}
	if _, err := s.LogOptions(); err != nil {
		errs = append(errs, err)
	}
	if o, ok := s.Objects(); ok {
		errs = append(errs, o.Validate())
	}
	errs = append(errs, s.Push.validate())
	if _, err := s.Proxies(); err != nil {
		errs = append(errs, err)
	}
	if err := s.Guard().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("webhook-allow: %w", err))
	}
	if s.DeliveryMaxAge < time.Minute || s.DeliveryMaxAge > deliveryMaxAgeMax {
		errs = append(errs, fmt.Errorf("delivery-max-age %s: must be between 1m0s and %s", s.DeliveryMaxAge, deliveryMaxAgeMax))
	}
	if _, err := s.MinFreeBytes(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, s.checkAddresses()...)
	return errors.Join(errs...)
}

// deliveryMaxAgeMax is how long events may wait for a sink at most: they take room until then.
const deliveryMaxAgeMax = 30 * 24 * time.Hour

// Guard are the settings of what users' URLs may reach.
func (s Settings) Guard() guard.Options {
	o := guard.DefaultOptions()
	o.Allow = s.WebhookAllow
	return o
}

// Objects are the settings of the S3 store for images; ok=false when none is configured.
func (s Settings) Objects() (o objects.Options, ok bool) {
	o = objects.DefaultOptions()
	o.Endpoint, o.Bucket, o.Region, o.Prefix = s.S3Endpoint, s.S3Bucket, s.S3Region, s.S3Prefix
	o.AccessKey, o.SecretKey = s.S3AccessKey, s.S3SecretKey
	return o, s.S3Bucket != "" || s.S3Endpoint != ""
}

// LogOptions are the log settings in the form the logger takes.
func (s Settings) LogOptions() (telemetry.LogOptions, error) {
	level, err := telemetry.ParseLevel(s.LogLevel)
	if err != nil {
		return telemetry.LogOptions{}, err
	}
	o := telemetry.LogOptions{Level: level, Format: telemetry.Format(s.LogFormat)}
	return o, o.Validate()
}

func (s Settings) checkAddresses() []error {
	var errs []error
	for _, a := range append(s.between(), address{"http-addr", s.HTTPAddr}) {
		if err := checkAddress(a.name, a.value); err != nil {
			errs = append(errs, err)
		}
	}
	if s.AdminAddr != "" {
		if err := checkAddress("admin-addr", s.AdminAddr); err != nil {
			errs = append(errs, err)
		}
	}
	for _, a := range s.Join {
		if err := checkAddress("join", a); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.checkReachable()...)
	return append(errs, s.checkUnprotected()...)
}

// between are the addresses that only other nodes use.
func (s Settings) between() []address {
	return []address{{"gossip-addr", s.GossipAddr}, {"rpc-addr", s.RPCAddr}, {"raft-addr", s.RaftAddr}}
}

// address is one setting of the form host:port.
type address struct{ name, value string }

// checkReachable refuses what other nodes could not dial: a wildcard without a host to tell them,
// or a host to tell them that is none.
func (s Settings) checkReachable() []error {
	if s.AdvertiseHost != "" {
		if ip := net.ParseIP(s.AdvertiseHost); strings.ContainsAny(s.AdvertiseHost, ":/[] ") && ip == nil || ip != nil && ip.IsUnspecified() {
			return []error{fmt.Errorf("advertise-host %q: must be a host name or an IP address that other nodes reach, without a port", s.AdvertiseHost)}
		}
		return nil
	}
	var errs []error
	for _, a := range s.between() {
		if host, _, err := net.SplitHostPort(a.value); err == nil && wildcard(host) {
			errs = append(errs, fmt.Errorf("%s %s: other nodes cannot dial a wildcard; say with advertise-host how they reach this one", a.name, a.value))
		}
	}
	return errs
}

// wildcard says whether host is every address of this machine.
func wildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// HasRole says whether the node has a role.
func (s Settings) HasRole(role string) bool { return slices.Contains(s.Roles, role) }

// checkUnprotected refuses to speak between nodes over a network in the clear: whoever reaches
// these ports could read and write everything.
func (s Settings) checkUnprotected() []error {
	if s.CertsDir != "" {
		return nil
	}
	var errs []error
	for _, a := range s.between() {
		host, _, err := net.SplitHostPort(a.value)
		if err == nil && !IsLoopback(host) {
			errs = append(errs, fmt.Errorf("%s %s: without certificates traffic between nodes is not encrypted, so it may only use a loopback address (127.0.0.1, ::1 or localhost); see 'parley certs --help' and certs-dir", a.name, a.value))
		}
	}
	return errs
}

// IsLoopback says whether host can only be reached from this machine.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func checkAddress(name, value string) error {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("%s %q: must be host:port, for example 127.0.0.1:4280 (port 0 takes a free one)", name, value)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%s %q: port %q is not a port number", name, value, port)
	}
	return nil
}

// CheckNodeName says why a node cannot have a name: it is part of addresses, certificates and files.
func CheckNodeName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	switch {
	case len(name) > nodeNameLenMax:
		return fmt.Errorf("%.16q…: longer than %d bytes", name, nodeNameLenMax)
	case strings.Trim(name, allowed) != "":
		return fmt.Errorf("%q: only letters, digits, dots, dashes and underscores", name)
	case strings.Trim(name, ".-_") == "":
		return fmt.Errorf("%q: at least one letter or digit is needed", name)
	}
	return nil
}

// LogValue keeps the secret out of any log.
func (s Settings) LogValue() slog.Value {
	return slog.GroupValue(slog.String("data-dir", s.DataDir), slog.String("http-addr", s.HTTPAddr),
		slog.String("gossip-addr", s.GossipAddr), slog.String("rpc-addr", s.RPCAddr),
		slog.String("raft-addr", s.RaftAddr), slog.String("admin-addr", s.AdminAddr),
		slog.String("node-name", s.NodeName), slog.Any("join", s.Join))
}
