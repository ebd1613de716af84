package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestTheClientBehindAProxy(t *testing.T) {
	trusted := prefixes("127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32")
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		want      string // "" = the peer itself, as it came
	}{
		"a proxy":                          {"10.0.0.1:99", []string{"192.0.2.7"}, "192.0.2.7:0"},
		"a proxy of IPv6":                  {"[2001:db8::1]:99", []string{"2001:4::7"}, "[2001:4::7]:0"},
		"a proxy that a socket calls IPv6": {"[::ffff:10.0.0.1]:99", []string{"192.0.2.7"}, "192.0.2.7:0"},
		"a stranger":                       {"192.0.2.1:99", []string{"192.0.2.7"}, ""},
		"two proxies":                      {"10.0.0.1:99", []string{"192.0.2.7, 10.0.0.2"}, "192.0.2.7:0"},
		"two headers":                      {"10.0.0.1:99", []string{"192.0.2.7", "10.0.0.2"}, "192.0.2.7:0"},
		"what the client itself wrote":     {"10.0.0.1:99", []string{"10.9.9.9, 203.0.113.1, 192.0.2.7"}, "192.0.2.7:0"},
		"a proxy that tells the port":      {"10.0.0.1:99", []string{"192.0.2.7:1234"}, "192.0.2.7:0"},
		"a proxy that asks for itself":     {"10.0.0.1:99", nil, "10.0.0.1:0"},
		"proxies alone":                    {"10.0.0.1:99", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3:0"},
		"no address":                       {"10.0.0.1:99", []string{"192.0.2.7, unknown"}, "10.0.0.1:0"},
		"no address before a proxy":        {"10.0.0.1:99", []string{"unknown, 10.0.0.2"}, "10.0.0.2:0"},
	} {
		s := &Server{options: Options{TrustedProxies: trusted}}
		r := httptest.NewRequest(http.MethodGet, "/v1/users", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.forwarded
		if c.want == "" {
			c.want = c.peer
		}
		s.behind(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.RemoteAddr != c.want {
				t.Errorf("%s: %q, want %q", name, r.RemoteAddr, c.want)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
		if r.RemoteAddr != c.peer {
			t.Errorf("%s: the server's own request was changed", name)
		}
	}
}

// TestHandlersSeeTheClient: every path that clients take, sockets too, is told who speaks through the proxy, and only
// when the proxy is trusted.
func TestHandlersSeeTheClient(t *testing.T) {
	for _, c := range []struct {
		trusted []netip.Prefix
		behind  bool
	}{{prefixes("127.0.0.1/32"), true}, {nil, false}} {
		o := options("")
		o.TrustedProxies = c.trusted
		s := open(t, o)
		tells := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if (r.RemoteAddr == "192.0.2.7:0") != c.behind {
				t.Errorf("%s: asked by %s", r.URL.Path, r.RemoteAddr)
			}
		})
		s.Mount(Handlers{API: tells, Realtime: tells, Sockets: tells, Images: tells, Demo: tells, Cluster: tells,
			Ready: func() (bool, string) { return true, "" }})
		for _, path := range []string{"/v1/users", "//v1/users", "/v1/realtime", "/rtc/", "/v2/rtc/", "/v1/image", "/demo", "/cluster/status"} {
			request, err := http.NewRequest(http.MethodGet, "http://"+s.Addr().String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Forwarded-For", "192.0.2.7")
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			answer, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		}
	}
}
