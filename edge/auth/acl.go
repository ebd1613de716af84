package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// rulesMax bounds the paths of one token; the token's own size bounds them too.
const rulesMax = 256

// ACL is a token's list of paths. The zero ACL allows nothing.
//
// A pattern is split at "/". "*" stands for exactly one segment, a final "**" for any number of
// trailing segments, none included; everything else is literal. The first segment is the API's
// version: all versions are equivalent, so a grant of /v1/users/** covers /beta/users as well.
type ACL struct {
	rules []rule
}

type rule struct {
	segments []string
	rest     bool     // the pattern ends in "**"
	methods  []string // upper case; nil = all
}

// grant is one value of acl.paths.
type grant struct {
	Methods []string        `json:"methods"`
	Filters json.RawMessage `json:"filters"`
}

// parseACL reads the acl claim. What can not be understood is an error, never a wider right.
func parseACL(raw json.RawMessage) (*ACL, error) {
	var claim struct {
		Paths map[string]*grant `json:"paths"`
	}
	if err := json.Unmarshal(raw, &claim); err != nil {
		return nil, errors.New("must be an object with the member paths")
	}
	if claim.Paths == nil {
		return nil, errors.New("must have the member paths, an object")
	}
	if len(claim.Paths) > rulesMax {
		return nil, fmt.Errorf("has more than %d paths", rulesMax)
	}
	acl := &ACL{}
	for pattern, g := range claim.Paths {
		r, err := parseRule(pattern, g)
		if err != nil {
			return nil, err
		}
		if g.filtered() {
			continue // Parley knows no filters: a filtered grant would be a wider one, so it is none
		}
		acl.rules = append(acl.rules, r)
	}
	sort.Slice(acl.rules, func(i, j int) bool { return len(acl.rules[i].segments) < len(acl.rules[j].segments) })
	return acl, nil
}

// ruleBytes and stringBytes are what a rule and a string take in memory beside what they point to.
const (
	ruleBytes   = 56
	stringBytes = 16
)

// bytes is what a takes in memory, roughly.
func (a *ACL) bytes() int {
	n := cap(a.rules) * ruleBytes
	for i := range a.rules {
		for _, list := range [...][]string{a.rules[i].segments, a.rules[i].methods} {
			n += cap(list) * stringBytes
			for _, s := range list {
				n += len(s)
			}
		}
	}
	return n
}

func (g *grant) filtered() bool {
	if g == nil {
		return false
	}
	f := strings.TrimSpace(string(g.Filters))
	return f != "" && f != "null" && f != "{}"
}

func parseRule(pattern string, g *grant) (rule, error) {
	rest, ok := strings.CutPrefix(pattern, "/")
	if !ok {
		return rule{}, fmt.Errorf("path %q must begin with a slash", clip(pattern))
	}
	r := rule{segments: strings.Split(rest, "/")}
	if last := len(r.segments) - 1; r.segments[last] == "**" {
		r.rest, r.segments = true, r.segments[:last]
	}
	for _, s := range r.segments {
		if strings.Contains(s, "**") {
			return rule{}, fmt.Errorf("path %q: ** may only stand at the end", clip(pattern))
		}
	}
	if g == nil || g.Methods == nil {
		return r, nil
	}
	r.methods = make([]string, len(g.Methods))
	for i, m := range g.Methods {
		r.methods[i] = strings.ToUpper(m)
	}
	return r, nil
}

// Allows says whether method may be used on path, a clean path whose segments are decoded: one leading
// slash, no empty segment, a slash within a segment written as %2F. HEAD is as good as GET.
func (a *ACL) Allows(method, path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	segments := strings.Split(rest, "/")
	for i := range a.rules {
		if a.rules[i].allows(method, segments) {
			return true
		}
	}
	return false
}

func (r *rule) allows(method string, segments []string) bool {
	if len(segments) < len(r.segments) || (!r.rest && len(segments) > len(r.segments)) {
		return false
	}
	for i, want := range r.segments {
		same := want == segments[i] || want == "*" || (i == 0 && isVersion(want) && isVersion(segments[0]))
		if !same {
			return false
		}
	}
	return r.allowsMethod(method)
}

func (r *rule) allowsMethod(method string) bool {
	if r.methods == nil {
		return true
	}
	if method == "HEAD" {
		method = "GET"
	}
	for _, m := range r.methods {
		if m == method {
			return true
		}
	}
	return false
}

// isVersion knows the forms that API generations have had: v1, v0.3, beta, beta2.
func isVersion(segment string) bool {
	if digits, ok := strings.CutPrefix(segment, "beta"); ok {
		return isDigits(digits)
	}
	digits, ok := strings.CutPrefix(segment, "v")
	if !ok || digits == "" {
		return false
	}
	major, minor, dotted := strings.Cut(digits, ".")
	return major != "" && isDigits(major) && (!dotted || (minor != "" && isDigits(minor)))
}

// isDigits says whether s consists of digits; the empty string does.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// clip shortens what a caller sent before it is told back.
func clip(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
