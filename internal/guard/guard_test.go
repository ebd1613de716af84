package guard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// book is a resolver with fixed answers.
type book map[string][]netip.Addr

func (b book) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ips, ok := b[host]; ok {
		return ips, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, a := range list {
		out[i] = netip.MustParseAddr(a)
	}
	return out
}

func open(t testing.TB, names book, allow ...string) *Guard {
	t.Helper()
	o := DefaultOptions()
	o.Resolver, o.Allow = names, allow
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestCheck(t *testing.T) {
	g := open(t, nil)
	for _, good := range []string{
		"https://example.com", "http://example.com/", "https://example.com:8443/hook?a=b", "http://93.184.216.34/", "https://[2606:2800:220:1::1]/",
		"HTTPS://EXAMPLE.com", "https://xn--bcher-kva.example/", "http://93.184.216.34:80/", "https://example.com./", "https://a_b.example.com",
		"https://1e100.net", "https://8.8.8.8.example", "http://[64:ff9b::5db8:d822]/", "https://example.com#fragment",
	} {
		if err := g.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		// No URL of the web.
		"", "example.com", "//example.com", "/hook", "ftp://example.com", "file:///etc/passwd", "gopher://example.com", "javascript:alert(1)",
		"http:", "http://", "https:example.com", "http:///path", "http://:80/", "https://ex ample.com", "http://exa\nmple.com", "https://example.com:0",
		"https://example.com:99999", "https://example.com:http", "https://" + strings.Repeat("a", 2048) + ".com", "https://" + strings.Repeat("a.", 127) + "com",
		// Credentials.
		"https://user@example.com", "https://user:word@example.com", "https://@example.com", "https://example.com@127.0.0.1",
		// Ports of system services.
		"http://example.com:22", "http://example.com:25/", "https://example.com:1023", "http://93.184.216.34:53/",
		// This host and this network.
		"http://127.0.0.1", "http://127.1.2.3/", "http://[::1]/", "http://0.0.0.0/", "http://[::]/", "http://0.1.2.3",
		// Private networks, metadata services, carriers.
		"http://10.0.0.1", "http://172.16.0.1", "http://172.31.255.255", "http://192.168.1.1", "http://169.254.169.254/latest/meta-data/",
		"http://[fd00:ec2::254]/", "http://[fc00::1]", "http://[fe80::1]", "http://[fe80::1%25eth0]/", "http://[fec0::1]", "http://100.64.0.1", "http://100.100.100.200/",
		// Nobody's.
		"http://224.0.0.1", "http://239.255.255.250", "http://[ff02::1]", "http://255.255.255.255", "http://240.0.0.1", "http://192.0.0.170",
		"http://168.63.129.16", "http://192.0.2.1", "http://198.51.100.7", "http://203.0.113.9", "http://198.18.0.1", "http://[2001:db8::1]", "http://[100::1]", "http://[3fff::1]",
		// An IPv4 address in an IPv6 one.
		"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]", "http://[::127.0.0.1]", "http://[::ffff:0:127.0.0.1]",
		"http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]", "http://[64:ff9b:1::1]", "http://[2002:7f00:1::]", "http://[2002:5db8:d822::1]",
		"http://[2001:0:7f00:1::]",
		// Addresses in disguise.
		"http://2130706433/", "http://0x7f000001/", "http://0x7f.1", "http://0177.0.0.1", "http://017700000001", "http://127.1", "http://127.0.1",
		"http://0x7f.0x0.0x0.0x1", "http://0300.0250.1.1", "http://127.0.0.1.", "http://0", "http://1.1", "http://256.256.256.256", "http://0x", "http://example.0x7f",
		"http://１２７.0.0.1/", "http://①②⑦.0.0.1", "http://127。0。0。1", "http://ｌocalhost", "http://127.0.0.1%00.example.com", "http://%31%32%37.0.0.1/",
		"http://[127.0.0.1]/", "http://[::1", "http://::1/", "http://127.0.0.1\\@example.com/", "http://exa%6dple.com%2f",
	} {
		if err := g.Check(bad); !errors.Is(err, ErrRefused) {
			t.Errorf("%q is let through: %v", bad, err)
		}
	}
}

// TestNamesAreJudgedByTheirAddresses: a harmless name may lead anywhere.
func TestNamesAreJudgedByTheirAddresses(t *testing.T) {
	g := open(t, book{
		"inside.example": addrs("10.1.2.3"), "local.example": addrs("127.0.0.1", "::1"), "mapped.example": addrs("::ffff:192.168.0.1"),
		"metadata.example": addrs("169.254.169.254"), "mixed.example": addrs("10.0.0.1", "93.184.216.34", "::1"), "none.example": {}, "localhost": addrs("127.0.0.1"),
	})
	for _, host := range []string{"inside.example", "local.example", "mapped.example", "metadata.example", "none.example", "localhost"} {
		if err := g.Check("http://" + host); err != nil {
			t.Errorf("%s was refused before it was resolved: %v", host, err)
		}
		if c, err := g.DialContext(t.Context(), "tcp", host+":80"); !errors.Is(err, ErrRefused) {
			t.Errorf("%s was dialled: %v, %v", host, c, err)
		}
	}
	targets, err := g.resolve(t.Context(), "mixed.example", "443")
	if err != nil || len(targets) != 1 || targets[0].String() != "93.184.216.34:443" {
		t.Errorf("of a mixed name %v may be dialled, %v", targets, err)
	}
}

// changing is a name server under an attacker's control: public at the first look-up, ours at the next.
type changing struct{ asked int }

func (c *changing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if c.asked++; c.asked == 1 {
		return addrs("203.0.113.1", "10.0.0.1"), nil
	}
	return addrs("127.0.0.1"), nil
}

// TestOneLookUpPerDial: what was judged is what is dialled.
func TestOneLookUpPerDial(t *testing.T) {
	r := &changing{}
	o := DefaultOptions()
	o.Resolver = r
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.DialContext(t.Context(), "tcp", "rebinding.example:80"); !errors.Is(err, ErrRefused) || r.asked != 1 {
		t.Fatalf("%v after %d look-ups", err, r.asked)
	}
	if err := g.control("rebinding.example")("tcp4", "127.0.0.1:80", nil); !errors.Is(err, ErrRefused) {
		t.Fatalf("the dialled address is not judged: %v", err)
	}
}

// TestAllow: what the operator names is reached, by prefix, address or name, and nothing beside it.
func TestAllow(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	names := book{"hooks.internal": addrs("127.0.0.1"), "deep.hooks.corp": addrs("127.0.0.1"), "other.internal": addrs("127.0.0.1")}
	for _, c := range []struct {
		allow, host string
		ok          bool
	}{
		{"127.0.0.0/8", "127.0.0.1", true}, {"127.0.0.1", "127.0.0.1", true}, {"127.0.0.2", "127.0.0.1", false}, {"10.0.0.0/8", "127.0.0.1", false},
		{"hooks.internal", "hooks.internal", true}, {"Hooks.Internal.", "hooks.internal", true}, {"hooks.internal", "other.internal", false},
		{"hooks.internal", "127.0.0.1", false}, {"*.hooks.corp", "deep.hooks.corp", true}, {"*.hooks.corp", "other.internal", false},
		{"127.0.0.0/8", "other.internal", true}, {"::ffff:127.0.0.1", "127.0.0.1", true},
	} {
		g := open(t, names, c.allow)
		conn, err := g.DialContext(t.Context(), "tcp", net.JoinHostPort(c.host, u.Port()))
		if (err == nil) != c.ok {
			t.Errorf("with %s, %s: %v", c.allow, c.host, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
	if err := open(t, nil, "10.0.0.0/8", "smtp.internal").Check("http://10.1.1.1:25"); err != nil {
		t.Errorf("an allowed address has every port: %v", err)
	}
	for _, bad := range []string{"", "10.0.0.0/33", "http://example.com", "127.1", "2130706433", "a b", "*", "host:80"} {
		o := DefaultOptions()
		o.Allow = []string{bad}
		if o.Validate() == nil {
			t.Errorf("the allow-list takes %q", bad)
		}
	}
}

// FuzzGuard: no URL panics, none that is let through names an address of ours in any form, and what
// the dialler would take for an address is judged as one.
func FuzzGuard(f *testing.F) {
	for _, seed := range []string{
		"http://example.com", "http://127.0.0.1", "http://[::ffff:7f00:1]:80", "http://0x7f.1", "https://u:p@10.0.0.1/", "http://[64:ff9b::a00:1]",
		"http://[2002:a00:1::]", "http://１２７.0.0.1", "http://[fe80::1%25lo]", "http://8.8.8.8:443/x?y#z",
	} {
		f.Add(seed, []byte{127, 0, 0, 1})
	}
	g := open(f, nil)
	f.Fuzz(func(t *testing.T, raw string, bytes []byte) {
		if ip, ok := netip.AddrFromSlice(bytes); ok {
			checkPublic(t, ip)
		}
		if g.Check(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			t.Fatalf("%q is let through: %v", raw, err)
		}
		host := u.Hostname()
		if ip, err := netip.ParseAddr(host); err == nil {
			if checkPublic(t, ip); !isPublic(ip) {
				t.Fatalf("%q is let through: %s", raw, ip)
			}
		} else if net.ParseIP(host) != nil {
			t.Fatalf("%q is let through: an address to others", raw)
		}
	})
}

// checkPublic compares Public with what the standard library knows of every address within ip.
func checkPublic(t *testing.T, ip netip.Addr) {
	if !isPublic(ip) {
		return
	}
	inner := []netip.Addr{ip, ip.Unmap()}
	switch b, text := ip.As16(), ip.String(); {
	case strings.HasPrefix(text, "64:ff9b::"): // NAT64
		inner = append(inner, netip.AddrFrom4([4]byte(b[12:])))
	case strings.HasPrefix(text, "2002:"): // 6to4
		inner = append(inner, netip.AddrFrom4([4]byte(b[2:6])))
	}
	for _, a := range inner {
		if a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || !a.IsValid() || a.Zone() != "" {
			t.Fatalf("%s is public, with %s in it", ip, a)
		}
	}
}

// An address that swallows packets leaves time to those after it.
func TestEachAddressHasItsShareOfTheTime(t *testing.T) {
	now := time.Now()
	ctx, cancel := context.WithDeadline(t.Context(), now.Add(4*time.Minute))
	defer cancel()
	for _, c := range []struct {
		passed, want time.Duration
		left         int
	}{{0, time.Minute, 4}, {time.Minute, 2 * time.Minute, 3}, {time.Minute, 4 * time.Minute, 1}} {
		if got := share(ctx, now.Add(c.passed), c.left).Sub(now); got != c.want {
			t.Errorf("%d addresses after %s: until %s, want %s", c.left, c.passed, got, c.want)
		}
	}
}
