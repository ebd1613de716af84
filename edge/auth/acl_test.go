package auth

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"parley/proto/code"
)

func TestACL(t *testing.T) {
	for _, tc := range []struct {
		paths  string // JSON of acl.paths
		method string
		path   string
		want   bool
	}{
		{`{"/**":{}}`, "DELETE", "/v1/users/USR-1", true},
		{`{}`, "GET", "/v1/users", false},
		{`{"/*/users/**":{}}`, "GET", "/v1/users", true},
		{`{"/*/users/**":{}}`, "GET", "/v1/users/USR-1/sessions", true},
		{`{"/*/users/**":{}}`, "GET", "/v1/usersx", false},
		{`{"/*/users/**":{}}`, "GET", "/v1/conversations", false},
		{`{"/*/users/*":{}}`, "GET", "/v1/users", false},
		{`{"/*/users/*":{}}`, "GET", "/v1/users/USR-1", true},
		{`{"/*/users/*":{}}`, "GET", "/v1/users/USR-1/sessions", false},
		{`{"/*/users":{}}`, "GET", "/v1/users", true},
		{`{"/*/users":{}}`, "GET", "/v1/users/USR-1", false},
		{`{"/v1/conversations/**":{}}`, "POST", "/beta/conversations/CON-1/events", true},
		{`{"/v1/conversations/**":{}}`, "POST", "/v0.3/conversations", true},
		{`{"/beta2/conversations/**":{}}`, "POST", "/v1/conversations", true},
		{`{"/v3/media/**":{}}`, "GET", "/v1/media", true},
		{`{"/vx/users/**":{}}`, "GET", "/v1/users", false},
		{`{"/V1/users/**":{}}`, "GET", "/v1/users", false},
		{`{"/v1/Users/**":{}}`, "GET", "/v1/users", false},
		{`{"/*/conversations/CON-1/**":{}}`, "GET", "/v1/conversations/CON-1", true},
		{`{"/*/conversations/CON-1/**":{}}`, "GET", "/v1/conversations/CON-2", false},
		{`{"/*/conversations/CON-1/**":{}}`, "GET", "/v1/conversations/CON-12", false},
		{`{"/*/conversations/*/events":{}}`, "GET", "/v1/conversations/CON-2/events", true},
		{`{"/*/users/**":{"methods":["GET"]}}`, "GET", "/v1/users", true},
		{`{"/*/users/**":{"methods":["get"]}}`, "GET", "/v1/users", true},
		{`{"/*/users/**":{"methods":["GET"]}}`, "HEAD", "/v1/users", true},
		{`{"/*/users/**":{"methods":["GET"]}}`, "POST", "/v1/users", false},
		{`{"/*/users/**":{"methods":[]}}`, "GET", "/v1/users", false},
		{`{"/*/users/**":{"methods":["GET"]},"/*/users":{"methods":["POST"]}}`, "POST", "/v1/users", true},
		{`{"/*/users/**":{"filters":{"to":"441"}}}`, "GET", "/v1/users", false},
		{`{"/*/users/**":{"filters":{}}}`, "GET", "/v1/users", true},
		{`{"/**":{}}`, "GET", "v1/users", false},
		{`{"/*/users//**":{}}`, "GET", "/v1/users", false},
	} {
		acl, err := parseACL(json.RawMessage(`{"paths":` + tc.paths + `}`))
		if err != nil {
			t.Errorf("%s: %v", tc.paths, err)
			continue
		}
		if got := acl.Allows(tc.method, tc.path); got != tc.want {
			t.Errorf("%s allows %s %s = %v, want %v", tc.paths, tc.method, tc.path, got, tc.want)
		}
	}
}

func TestClaimsAllow(t *testing.T) {
	some := &ACL{rules: []rule{{segments: []string{"*", "users"}}}}
	for name, tc := range map[string]struct {
		claims Claims
		want   bool
	}{
		"administrator without acl":  {Claims{}, true},
		"administrator, covered":     {Claims{ACL: some}, true},
		"administrator, not covered": {Claims{ACL: &ACL{}}, false},
		"user without acl":           {Claims{UserName: "ann"}, false},
		"user, covered":              {Claims{UserName: "ann", ACL: some}, true},
		"user, not covered":          {Claims{UserName: "ann", ACL: &ACL{}}, false},
	} {
		err := tc.claims.Allows("GET", "/v1/users")
		if (err == nil) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (!code.Has(err, code.Permission) || !strings.Contains(err.Error(), "GET /v1/users")) {
			t.Errorf("%s: %v; want a permission error that names the path", name, err)
		}
	}
}

// oracle decides like ACL does, by turning the pattern into a regular expression.
func oracle(pattern, path string) bool {
	version := `(v[0-9]+(\.[0-9]+)?|beta[0-9]*)`
	parts := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	rest := `$`
	if parts[len(parts)-1] == "**" {
		parts, rest = parts[:len(parts)-1], `(/.*)?$`
	}
	expression := "(?s)^"
	for i, p := range parts {
		switch {
		case p == "*":
			expression += "/[^/]*"
		case i == 0 && regexp.MustCompile("^"+version+"$").MatchString(p):
			expression += "/" + version
		default:
			expression += "/" + regexp.QuoteMeta(p)
		}
	}
	return strings.HasPrefix(path, "/") && regexp.MustCompile(expression+rest).MatchString(path)
}

func FuzzACLAgainstOracle(f *testing.F) {
	for _, pattern := range []string{"/**", "/*/users/**", "/v1/users/*", "/beta/conversations/CON-1/**", "/*", "/v0.3/x"} {
		for _, path := range []string{"/v1/users", "/beta2/users/USR-1", "/v0.1/conversations/CON-1/events", "/", "/v1"} {
			f.Add(pattern, path)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		r, err := parseRule(pattern, nil)
		if err != nil || strings.ToValidUTF8(pattern, "") != pattern || strings.ToValidUTF8(path, "") != path {
			return
		}
		acl := ACL{rules: []rule{r}}
		if got, want := acl.Allows("GET", path), oracle(pattern, path); got != want {
			t.Errorf("%q allows %q = %v, the oracle says %v", pattern, path, got, want)
		}
	})
}
