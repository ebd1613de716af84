// Package guard lets the server fetch URLs that its users name, and reach nothing with them that is
// not on the public internet: no loopback, no private network, no metadata service of a cloud.
//
// A URL is looked at before it is used (Check), and each address when it is dialled: the name is
// resolved once, the addresses are judged, and one that passed is dialled itself. A name that
// resolves differently the next time gains nothing by it.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrRefused is inside every error about a URL or an address that may not be reached.
var ErrRefused = errors.New("not allowed as the target of a request")

// Resolver looks up host names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options say what may be reached. Start from DefaultOptions.
type Options struct {
	// Allow lists what may be reached although it is not public, at any port: CIDR prefixes, IP
	// addresses, and host names, which then may have any address. An entry "*.example.com" stands for
	// all names below example.com.
	Allow []string
	// Resolver resolves names.
	Resolver Resolver
	// Timeout bounds the look-up and the connecting.
	Timeout time.Duration
}

// DefaultOptions let nothing but the public internet be reached.
func DefaultOptions() Options {
	return Options{Resolver: net.DefaultResolver, Timeout: 5 * time.Second}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if o.Resolver == nil || o.Timeout <= 0 {
		return errors.New("guard options: a resolver and a timeout are needed")
	}
	_, err := parseAllow(o.Allow)
	return err
}

// Guard judges URLs and addresses. Safe for concurrent use.
type Guard struct {
	options Options
	allow   allowed
}

// New makes a Guard.
func New(o Options) (*Guard, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	allow, err := parseAllow(o.Allow)
	return &Guard{options: o, allow: allow}, err
}

// urlBytesMax bounds a URL.
const urlBytesMax = 2048

// Check says why a URL may not be fetched, as far as that can be seen without resolving its host.
func (g *Guard) Check(raw string) error {
	if len(raw) > urlBytesMax {
		return fmt.Errorf("%w: the URL has more than %d bytes", ErrRefused, urlBytesMax)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: it is no URL", ErrRefused) // the parser's own message repeats all of it
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: the scheme must be http or https", ErrRefused)
	case u.User != nil:
		return fmt.Errorf("%w: the URL must not have a user name or password", ErrRefused)
	case u.Opaque != "":
		return fmt.Errorf("%w: the URL has no host", ErrRefused)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return g.checkTarget(u.Hostname(), port)
}

// checkTarget judges a host and port before the host is resolved.
func (g *Guard) checkTarget(host, port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%w: %q is no port", ErrRefused, port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.checkAddr(ip, uint16(n))
	}
	if err := checkName(host); err != nil {
		return err
	}
	if g.allow.name(host) || publicPort(uint16(n)) {
		return nil
	}
	return fmt.Errorf("%w: port %d", ErrRefused, n)
}

// hostBytesMax bounds a host name, as in DNS.
const hostBytesMax = 253

// checkName refuses what is no host name in plain ASCII, and every way to write an address that is
// not the usual one: a host whose last label is a number is an address to some resolvers
// (2130706433, 0x7f.1, 127.1; https://url.spec.whatwg.org/#ends-in-a-number-checker).
func checkName(host string) error {
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > hostBytesMax {
		return fmt.Errorf("%w: the host is empty or too long", ErrRefused)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_') {
			return fmt.Errorf("%w: a host name has letters, digits, dots and dashes only", ErrRefused)
		}
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || numeric(last) {
		return fmt.Errorf("%w: the host is a number; write the address as usual", ErrRefused)
	}
	return nil
}

// numeric says whether a label reads as a number: decimal, octal or hexadecimal.
func numeric(label string) bool {
	digits := label
	if hex, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(digits, "0123456789") == ""
}

// publicPort says whether a port may be asked for outside the allow-list: those of the web, and
// those that no system service has.
func publicPort(port uint16) bool { return port == 80 || port == 443 || port >= 1024 }

func (g *Guard) checkAddr(ip netip.Addr, port uint16) error {
	switch {
	case g.allow.addr(ip):
		return nil
	case !isPublic(ip):
		return fmt.Errorf("%w: %s is not a public address", ErrRefused, ip)
	case !publicPort(port):
		return fmt.Errorf("%w: port %d", ErrRefused, port)
	}
	return nil
}

// DialContext resolves the host of address, judges what it finds, and dials the first address that
// may be reached and answers. It fits http.Transport.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no address", ErrRefused, address)
	}
	if err := g.checkTarget(host, port); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.options.Timeout)
	defer cancel()
	targets, err := g.resolve(ctx, host, port)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Control: g.control(host)}
	for i, t := range targets {
		var c net.Conn
		d.Deadline = share(ctx, time.Now(), len(targets)-i)
		if c, err = d.DialContext(ctx, network, t.String()); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// share is until when the first of the addresses that are left may be dialled: one that swallows
// packets must not take the time of those after it.
func share(ctx context.Context, now time.Time, left int) time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return now.Add(end.Sub(now) / time.Duration(left))
}

// addressesMax bounds how many addresses of a name are tried.
const addressesMax = 8

// resolve gives the addresses of a host that may be dialled, at least one.
func (g *Guard) resolve(ctx context.Context, host, port string) ([]netip.AddrPort, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no port", ErrRefused, port)
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = g.options.Resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, fmt.Errorf("resolve the host: %w", err)
	}
	refused := fmt.Errorf("%w: the host has no address", ErrRefused)
	var targets []netip.AddrPort
	for _, ip := range ips {
		if err := g.judge(host, ip, uint16(n)); err != nil {
			refused = err
			continue
		}
		if targets = append(targets, netip.AddrPortFrom(ip.Unmap(), uint16(n))); len(targets) == addressesMax {
			break
		}
	}
	if len(targets) == 0 {
		return nil, refused
	}
	return targets, nil
}

func (g *Guard) judge(host string, ip netip.Addr, port uint16) error {
	if g.allow.name(host) {
		return nil
	}
	return g.checkAddr(ip, port)
}

// control looks once more at what is really dialled.
func (g *Guard) control(host string) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		t, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %q", ErrRefused, address)
		}
		return g.judge(host, t.Addr(), t.Port())
	}
}
