package settings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// envPrefix starts the name of every variable that Parley reads.
const envPrefix = "PARLEY_"

// delim separates nested keys, of which there are none: every setting is one flat name.
const delim = "."

// secretNames are settings that are never flags, because a command line is visible to every
// user of the machine, and that are never printed.
var secretNames = []string{"api-secret", "s3-secret-key"}

// listNames are settings with several values: a list in the file, separated by commas elsewhere.
var listNames = []string{"join", "roles", "trusted-proxies", "webhook-allow", "push-web-hosts"}

// durationNames are settings that are durations.
var durationNames = []string{"delivery-max-age", "shutdown-grace", "shutdown-delay"}

// foreignNames are variables of the client commands and of loading itself, not settings.
var foreignNames = []string{"url", "config", "app-id", "keyfile"}

// Source tells where a setting's value comes from.
type Source string

// The sources, from the weakest to the strongest.
const (
	FromDefault Source = "default"
	FromFile    Source = "file"
	FromEnv     Source = "environment"
	FromFlag    Source = "flag"
)

// Loaded are settings with the source of each by name, and what looked like a setting but is none.
type Loaded struct {
	Settings Settings
	Sources  map[string]Source
	Unknown  []string // PARLEY_… variables that no setting has
}

// Flags declares the flags of the settings on set, with the defaults in the help text.
func Flags(set *pflag.FlagSet) {
	d := Default()
	set.String("data-dir", d.DataDir, "directory that holds everything the node keeps")
	set.String("http-addr", d.HTTPAddr, "where clients come: REST, realtime, demo page, docs, health, metrics")
	set.String("admin-addr", d.AdminAddr, "serve health and metrics here too")
	set.String("gossip-addr", d.GossipAddr, "membership between nodes")
	set.String("rpc-addr", d.RPCAddr, "calls between nodes")
	set.String("raft-addr", d.RaftAddr, "replication between nodes")
	set.StringSlice("join", nil, "gossip addresses of nodes to join; only a hint for a node that has data")
	set.String("node-name", d.NodeName, "name of this node, unique in the cluster (default: made at the first start)")
	set.StringSlice("roles", d.Roles, "what the node does: edge (serves clients), shards (keeps data), or both")
	set.Int("shards", d.Shards, "into how many shards a new cluster is cut, for its life; 64 is right up to about 20 nodes")
	set.String("advertise-host", d.AdvertiseHost, "host that other nodes reach this one by (default: the host of each address)")
	set.String("certs-dir", d.CertsDir, "directory made by 'parley certs issue': mutual TLS and encrypted gossip between nodes")
	set.String("s3-endpoint", d.S3Endpoint, "S3 store for images (default: they are kept in the cluster)")
	set.String("s3-region", d.S3Region, "region of the S3 store")
	set.String("s3-bucket", d.S3Bucket, "bucket of the S3 store; must exist")
	set.String("s3-prefix", d.S3Prefix, "what stands before the name of every object")
	set.String("push-fcm-url", d.Push.FCMURL, "Firebase Cloud Messaging, for notifications on Android devices")
	set.String("push-fcm-token-url", d.Push.FCMTokenURL, "where access tokens for it come from")
	set.String("push-apns-url", d.Push.APNSURL, "Apple Push Notification service")
	set.String("push-apns-sandbox-url", d.Push.APNSSandboxURL, "its development environment")
	set.StringSlice("push-web-hosts", d.Push.WebHosts, "push services of browsers that notifications may be sent to: hosts, or .domain for all below it")
	set.StringSlice("trusted-proxies", nil, "load balancers whose X-Forwarded-For tells where clients are: IP addresses, CIDR prefixes")
	set.StringSlice("webhook-allow", nil, "what webhooks may reach beside the public internet: CIDR prefixes, addresses, host names")
	set.Duration("delivery-max-age", d.DeliveryMaxAge, "how long an event is tried that a webhook or push service does not take")
	set.String("min-free-space", d.MinFreeSpace, "space to keep free where data-dir is, such as 2GiB; below it nothing new is stored here")
	set.String("log-level", d.LogLevel, "debug, info, warn or error")
	set.String("log-format", d.LogFormat, "text or json")
	set.Duration("shutdown-grace", d.ShutdownGrace, "time to answer what is in flight when the node is stopped")
	set.Duration("shutdown-delay", d.ShutdownDelay, "time between /readyz saying no and the end of service, for load balancers to notice")
	set.String("config", "", "configuration file (YAML); also "+envPrefix+"CONFIG")
}

// Load reads all sources and validates the result. environ has the form of os.Environ.
func Load(set *pflag.FlagSet, environ []string) (Loaded, error) {
	l := Loaded{Settings: Default(), Sources: map[string]Source{}}
	k := koanf.New(delim)
	if path := configPath(set, environ); path != "" {
		if err := l.readFile(k, path); err != nil {
			return l, err
		}
	}
	if err := l.readEnv(k, environ); err != nil {
		return l, err
	}
	if err := l.readFlags(k, set); err != nil {
		return l, err
	}
	for _, name := range durationNames {
		if err := checkDuration(k, name); err != nil {
			return l, err
		}
	}
	if err := k.Unmarshal("", &l.Settings); err != nil {
		return l, fmt.Errorf("read configuration: %w", err)
	}
	return l, l.Settings.Validate()
}

// Names are all settings, in the order in which they are documented.
func Names() []string {
	return []string{"data-dir", "http-addr", "admin-addr", "gossip-addr", "rpc-addr", "raft-addr", "join",
		"node-name", "roles", "shards", "advertise-host", "certs-dir", "api-key", "api-secret",
		"s3-endpoint", "s3-region", "s3-bucket", "s3-prefix", "s3-access-key", "s3-secret-key",
		"push-fcm-url", "push-fcm-token-url", "push-apns-url", "push-apns-sandbox-url", "push-web-hosts",
		"trusted-proxies", "webhook-allow", "delivery-max-age", "min-free-space", "log-level", "log-format", "shutdown-grace", "shutdown-delay"}
}

// EnvName is the variable of a setting.
func EnvName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Secret says that a setting's value must not be shown.
func Secret(name string) bool { return slices.Contains(secretNames, name) }

func (l *Loaded) readFile(k *koanf.Koanf, path string) error {
	parsed := koanf.New(delim)
	if err := parsed.Load(file.Provider(path), yaml.Parser()); err != nil {
		return fmt.Errorf("read configuration file %s: %w", path, err)
	}
	for _, name := range parsed.Keys() {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("configuration file %s: unknown key %q; known are %s", path, name, strings.Join(Names(), ", "))
		}
		l.Sources[name] = FromFile
	}
	return k.Merge(parsed)
}

// readEnv takes the variables of known settings. Unknown ones are only remembered: container
// platforms put variables of this shape (PARLEY_SERVICE_HOST, …) beside every service.
func (l *Loaded) readEnv(k *koanf.Koanf, environ []string) error {
	return k.Load(env.Provider(delim, env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			name := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, envPrefix)), "_", "-")
			switch {
			case slices.Contains(foreignNames, name):
				return "", nil
			case !slices.Contains(Names(), name):
				l.Unknown = append(l.Unknown, variable)
				return "", nil
			}
			l.Sources[name] = FromEnv
			if slices.Contains(listNames, name) {
				return name, splitList(value)
			}
			return name, value
		},
	}), nil)
}

func (l *Loaded) readFlags(k *koanf.Koanf, set *pflag.FlagSet) error {
	if set == nil {
		return nil
	}
	changed := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Changed && slices.Contains(Names(), f.Name) {
			changed.AddFlag(f)
			l.Sources[f.Name] = FromFlag
		}
	})
	return k.Load(posflag.Provider(changed, delim, k), nil)
}

// checkDuration is here because the decoder's own message does not say which value it met, and because it
// takes a number without a unit for nanoseconds.
func checkDuration(k *koanf.Koanf, name string) error {
	if !k.Exists(name) {
		return nil
	}
	text := fmt.Sprint(k.Get(name))
	if _, err := time.ParseDuration(text); err != nil {
		return fmt.Errorf("%s %q: must be a duration such as 10s or 1m30s", name, text)
	}
	return nil
}

func configPath(set *pflag.FlagSet, environ []string) string {
	if set != nil {
		if f := set.Lookup("config"); f != nil && f.Changed {
			return f.Value.String()
		}
	}
	for _, e := range environ {
		if path, ok := strings.CutPrefix(e, envPrefix+"CONFIG="); ok {
			return path
		}
	}
	return ""
}

func splitList(s string) []string {
	var list []string
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// Source of a setting; what nobody set is a default.
func (l Loaded) Source(name string) Source {
	if s, ok := l.Sources[name]; ok {
		return s
	}
	return FromDefault
}

// Value is a setting as text, secrets replaced.
func (l Loaded) Value(name string) string {
	s := l.Settings
	values := map[string]string{
		"data-dir": s.DataDir, "http-addr": s.HTTPAddr, "admin-addr": s.AdminAddr, "gossip-addr": s.GossipAddr,
		"rpc-addr": s.RPCAddr, "raft-addr": s.RaftAddr, "join": strings.Join(s.Join, ","),
		"node-name": s.NodeName, "roles": strings.Join(s.Roles, ","), "shards": strconv.Itoa(s.Shards),
		"advertise-host": s.AdvertiseHost, "certs-dir": s.CertsDir,
		"api-key": s.APIKey, "api-secret": s.APISecret,
		"s3-endpoint": s.S3Endpoint, "s3-region": s.S3Region, "s3-bucket": s.S3Bucket, "s3-prefix": s.S3Prefix,
		"s3-access-key": s.S3AccessKey, "s3-secret-key": s.S3SecretKey,
		"push-fcm-url": s.Push.FCMURL, "push-fcm-token-url": s.Push.FCMTokenURL,
		"push-apns-url": s.Push.APNSURL, "push-apns-sandbox-url": s.Push.APNSSandboxURL, "push-web-hosts": strings.Join(s.Push.WebHosts, ","),
		"trusted-proxies": strings.Join(s.TrustedProxies, ","), "webhook-allow": strings.Join(s.WebhookAllow, ","), "delivery-max-age": s.DeliveryMaxAge.String(),
		"min-free-space": s.MinFreeSpace,
		"log-level":      s.LogLevel, "log-format": s.LogFormat,
		"shutdown-grace": s.ShutdownGrace.String(), "shutdown-delay": s.ShutdownDelay.String(),
	}
	if Secret(name) && values[name] != "" {
		return "(set)"
	}
	return values[name]
}
