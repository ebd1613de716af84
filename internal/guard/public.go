package guard

import "net/netip"

// special are the parts of the public ranges that are not public (IANA's special-purpose address
// registries), beside what package netip knows.
var special = prefixes(
	"0.0.0.0/8",        // this network
	"100.64.0.0/10",    // carrier-grade NAT; also metadata services
	"168.63.129.16/32", // the metadata and agent service of a cloud, at a public address
	"192.0.0.0/24",     // protocol assignments
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"240.0.0.0/4",      // reserved, and broadcast
	"2001::/23",        // protocol assignments: Teredo, ORCHID, …
	"2001:db8::/32",    // documentation
	"2002::/16",        // 6to4: carries an IPv4 address
	"3fff::/20",        // documentation
)

// global is where public IPv6 addresses are; nat64 stands for IPv4 addresses (RFC 6052).
var (
	global = netip.MustParsePrefix("2000::/3")
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, text := range list {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// isPublic says whether an address belongs to the public internet. An IPv4 address within an IPv6 one
// is judged by itself where hosts use that form (mapped, NAT64), and refused where none should.
func isPublic(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.Is6() && nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !ip.IsValid() || ip.Zone() != "" || !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	if ip.Is6() && !global.Contains(ip) {
		return false
	}
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}
