package settings

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Flags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return set
}

func configFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreValid(t *testing.T) {
	l, err := Load(flags(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := Default(); l.Settings.HTTPAddr != d.HTTPAddr || l.Settings.DataDir != "./data" || l.Settings.Join != nil {
		t.Errorf("got %+v", l.Settings)
	}
	for _, name := range Names() {
		if got := l.Source(name); got != FromDefault {
			t.Errorf("%s comes from %s", name, got)
		}
	}
}

func TestLaterSourcesWin(t *testing.T) {
	path := configFile(t, "http-addr: 127.0.0.1:1\nrpc-addr: 127.0.0.1:1\nraft-addr: 127.0.0.1:1\njoin: [a:1, b:2]\nshutdown-grace: 3s\n")
	set := flags(t, "--raft-addr=127.0.0.1:3", "--config="+path)
	l, err := Load(set, []string{"PARLEY_RPC_ADDR=127.0.0.1:2", "PARLEY_RAFT_ADDR=127.0.0.1:2", "HOME=/x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		name, value string
		source      Source
	}{
		{"gossip-addr", "127.0.0.1:4281", FromDefault},
		{"http-addr", "127.0.0.1:1", FromFile},
		{"rpc-addr", "127.0.0.1:2", FromEnv},
		{"raft-addr", "127.0.0.1:3", FromFlag},
		{"join", "a:1,b:2", FromFile},
		{"shutdown-grace", "3s", FromFile},
	} {
		if l.Value(want.name) != want.value || l.Source(want.name) != want.source {
			t.Errorf("%s = %s from %s; want %s from %s", want.name, l.Value(want.name), l.Source(want.name), want.value, want.source)
		}
	}
}

// Every setting can be given in each of the three ways, and comes out the same.
func TestEverySettingInEveryWay(t *testing.T) {
	values := map[string]string{
		"data-dir": "/tmp/p", "http-addr": "0.0.0.0:80", "admin-addr": "127.0.0.1:9", "gossip-addr": "127.0.0.1:10",
		"rpc-addr": "[::1]:11", "raft-addr": "localhost:12", "join": "x:1,y:2", "node-name": "n-1", "roles": "shards", "shards": "256", "advertise-host": "n1.example",
		"api-key": "k", "api-secret": "s3cret",
		"certs-dir": "/etc/parley", "s3-endpoint": "http://127.0.0.1:9000", "s3-region": "r", "s3-bucket": "b", "s3-prefix": "p/", "s3-access-key": "a", "s3-secret-key": "z",
		"push-fcm-url": "http://f:1", "push-fcm-token-url": "http://f:2/token", "push-apns-url": "https://a:1", "push-apns-sandbox-url": "https://a:2",
		"push-web-hosts": "push.example,.example.org", "trusted-proxies": "10.0.0.5,10.1.0.0/24", "webhook-allow": "10.0.0.0/8,hooks.internal", "delivery-max-age": "2h0m0s", "min-free-space": "3GiB", "log-level": "debug", "log-format": "json", "shutdown-grace": "2s", "shutdown-delay": "1s",
	}
	var environ, yaml, args []string
	for _, name := range Names() {
		value, ok := values[name]
		if !ok {
			t.Fatalf("no value for %s: add it to this test", name)
		}
		environ = append(environ, EnvName(name)+"="+value)
		if slices.Contains(listNames, name) {
			yaml = append(yaml, name+": ["+value+"]")
		} else {
			yaml = append(yaml, name+`: "`+value+`"`)
		}
		if flags(t).Lookup(name) != nil {
			args = append(args, "--"+name+"="+value)
		} else if !strings.HasPrefix(name, "api-") && !strings.HasSuffix(name, "-key") {
			t.Errorf("%s has no flag", name)
		}
	}
	fromEnv, err := Load(nil, environ)
	if err != nil {
		t.Fatal(err)
	}
	fromFile, err := Load(nil, []string{"PARLEY_CONFIG=" + configFile(t, strings.Join(yaml, "\n"))})
	if err != nil {
		t.Fatal(err)
	}
	fromFlags, err := Load(flags(t, args...), []string{"PARLEY_API_KEY=k", "PARLEY_API_SECRET=s3cret", "PARLEY_S3_ACCESS_KEY=a", "PARLEY_S3_SECRET_KEY=z"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Loaded{fromEnv, fromFile, fromFlags} {
		for _, name := range Names() {
			want := values[name]
			if Secret(name) {
				want = "(set)"
			}
			if got := l.Value(name); got != want {
				t.Errorf("%s from %s = %q, want %q", name, l.Source(name), got, want)
			}
		}
		if l.Settings.APISecret != "s3cret" || l.Settings.ShutdownGrace != 2*time.Second {
			t.Errorf("got %+v", l.Settings)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		yaml    string
		want    []string
	}{
		{"unknown key", nil, nil, "http-adr: x", []string{`"http-adr"`, "http-addr"}},
		{"not yaml", nil, nil, "a: [", []string{"parley.yaml"}},
		{"bad address", []string{"--http-addr=4280"}, nil, "", []string{"http-addr", "host:port"}},
		{"bad port", []string{"--http-addr=h:nope"}, nil, "", []string{"http-addr", "nope"}},
		{"bad join", []string{"--join=a"}, nil, "", []string{"join"}},
		{"key alone", nil, []string{"PARLEY_API_KEY=k"}, "", []string{"api-secret"}},
		{"unknown role", []string{"--roles=edge,shard"}, nil, "", []string{"roles", `"shard"`}},
		{"role twice", []string{"--roles=edge,edge"}, nil, "", []string{"roles", "twice"}},
		{"no role", []string{"--roles="}, nil, "", []string{"roles", "edge and shards"}},
		{"too many shards", []string{"--shards=1025"}, nil, "", []string{"shards 1025", "1024"}},
		{"no shards", nil, []string{"PARLEY_SHARDS=0"}, "", []string{"shards 0"}},
		{"advertised port", []string{"--advertise-host=h:1"}, nil, "", []string{"advertise-host", "without a port"}},
		{"advertised wildcard", []string{"--advertise-host=0.0.0.0"}, nil, "", []string{"advertise-host"}},
		{"log level", []string{"--log-level=loud"}, nil, "", []string{"log level", "loud"}},
		{"grace", nil, []string{"PARLEY_SHUTDOWN_GRACE=-1s"}, "", []string{"shutdown-grace"}},
		{"delay beyond the grace", []string{"--shutdown-grace=4s", "--shutdown-delay=3s"}, nil, "", []string{"shutdown-delay", "2s"}},
		{"grace is no duration", nil, []string{"PARLEY_SHUTDOWN_GRACE=soon"}, "", []string{"soon"}},
		{"grace without a unit", nil, nil, "shutdown-grace: 30", []string{"shutdown-grace", "30", "10s"}},
		{"delay without a unit", nil, nil, "shutdown-delay: 5", []string{"shutdown-delay", "5", "10s"}},
		{"node name", []string{"--node-name=a b"}, nil, "", []string{"node-name"}},
		{"node name without a letter", []string{"--node-name=.."}, nil, "", []string{"node-name", "at least one letter"}},
		{"two at once", []string{"--node-name=a b", "--http-addr=x"}, nil, "", []string{"node-name", "http-addr"}},
		{"no data dir", []string{"--data-dir="}, nil, "", []string{"data-dir"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.yaml != "" {
				c.environ = append(c.environ, "PARLEY_CONFIG="+configFile(t, c.yaml))
			}
			_, err := Load(flags(t, c.args...), c.environ)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestUnknownVariablesAreRemembered(t *testing.T) {
	l, err := Load(nil, []string{"PARLEY_SERVICE_HOST=10.0.0.1", "PARLEY_URL=http://x", "PARLEY_HTTP_ADR=1", "PARLEY_HTTP_ADDR=127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"PARLEY_HTTP_ADR", "PARLEY_SERVICE_HOST"}; !slices.Equal(sorted(l.Unknown), want) {
		t.Errorf("unknown: %v, want %v", l.Unknown, want)
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

func TestSecretIsNoFlagAndIsNotShown(t *testing.T) {
	if flags(t).Lookup("api-secret") != nil {
		t.Error("api-secret is a flag: other users of the machine would see it")
	}
	l, err := Load(nil, []string{"PARLEY_API_KEY=k", "PARLEY_API_SECRET=hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(l.Value("api-secret"), "hunter2") || strings.Contains(l.Settings.LogValue().String(), "hunter2") {
		t.Error("the secret is shown")
	}
}

// Browsers refuse to open some ports, whatever listens there. The list is that of the Fetch
// standard, above 1024.
func TestBrowsersOpenTheDefaultPort(t *testing.T) {
	blocked := []string{"1719", "1720", "1723", "2049", "3659", "4045", "4190", "5060", "5061", "6000", "6566", "6665", "6666",
		"6667", "6668", "6669", "6679", "6697", "10080"}
	if port := Default().HTTPAddr[len("127.0.0.1:"):]; slices.Contains(blocked, port) {
		t.Errorf("no browser opens port %s", port)
	}
}

// Between nodes an address that others could reach needs certificates, however it is written. One that
// nobody could dial is refused with them, too.
func TestAnOpenAddressNeedsCertificates(t *testing.T) {
	for _, name := range []string{"gossip-addr", "rpc-addr", "raft-addr"} {
		for _, host := range []string{"0.0.0.0", "", "[::]", "[::0]", "[::ffff:0.0.0.0]", "10.0.0.1", "192.168.1.7", "[fe80::1]", "[2001:db8::1]",
			"[::ffff:10.0.0.1]", "n1.example", "localhost.example", "127.0.0.1.example", "169.254.1.1", "255.255.255.255"} {
			flag := "--" + name + "=" + host + ":4281"
			if _, err := Load(flags(t, flag, "--advertise-host=n1.example"), nil); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "loopback") {
				t.Errorf("%s without certificates: %v", flag, err)
			}
			if _, err := Load(flags(t, flag, "--advertise-host=n1.example", "--certs-dir=/etc/parley"), nil); err != nil {
				t.Errorf("%s with certificates: %v", flag, err)
			}
		}
		for _, host := range []string{"127.0.0.1", "127.8.9.10", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]"} {
			if _, err := Load(flags(t, "--"+name+"="+host+":4281"), nil); err != nil {
				t.Errorf("%s on loopback: %v", host, err)
			}
		}
		for _, host := range []string{"0.0.0.0", "", "[::]"} {
			flag := "--" + name + "=" + host + ":4281"
			if _, err := Load(flags(t, flag, "--certs-dir=/etc/parley"), nil); err == nil || !strings.Contains(err.Error(), "advertise-host") {
				t.Errorf("%s, which nobody can dial: %v", flag, err)
			}
		}
	}
}
