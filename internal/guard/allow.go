package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// allowed is a parsed allow-list.
type allowed struct {
	prefixes []netip.Prefix
	names    []string // lower case, without a dot at the end
	suffixes []string // of names, with the dot in front
}

func parseAllow(list []string) (allowed, error) {
	var a allowed
	for _, entry := range list {
		entry = strings.TrimSpace(entry)
		if p, err := netip.ParsePrefix(entry); err == nil {
			a.prefixes = append(a.prefixes, p.Masked())
			continue
		}
		if ip, err := netip.ParseAddr(entry); err == nil && ip.Zone() == "" {
			a.prefixes = append(a.prefixes, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
			continue
		}
		name, below := strings.CutPrefix(canonical(entry), "*.")
		if err := checkName(name); err != nil {
			return a, fmt.Errorf("%q is no CIDR prefix, IP address or host name", entry)
		}
		if below {
			a.suffixes = append(a.suffixes, "."+name)
		} else {
			a.names = append(a.names, name)
		}
	}
	return a, nil
}

// canonical is a host name as it is compared.
func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

func (a allowed) name(host string) bool {
	host = canonical(host)
	return slices.Contains(a.names, host) ||
		slices.ContainsFunc(a.suffixes, func(s string) bool { return strings.HasSuffix(host, s) })
}

func (a allowed) addr(ip netip.Addr) bool {
	ip = ip.Unmap()
	return slices.ContainsFunc(a.prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}
