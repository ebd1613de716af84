package settings

import (
	"fmt"
	"net/netip"
)

// Proxies are the addresses whose X-Forwarded-For is believed.
func (s Settings) Proxies() ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for _, text := range s.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil {
			a = a.Unmap().WithZone("")
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("trusted-proxies %q: must be an IP address or a prefix such as 10.0.0.0/8", text)
		}
		proxies = append(proxies, p)
	}
	return proxies, nil
}
