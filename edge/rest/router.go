package rest

import (
	"fmt"
	"net/url"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// router finds the operation of a path. Paths are split and then decoded, once; what is not clean is
// not found, so no spelling of a path reaches further than the plain one. A name in a path may have any
// character that a name may have: what is escaped in it is a part of the name.
type router struct {
	root *node
}

// node is one segment of the table's paths.
type node struct {
	literal   map[string]*node
	parameter *node
	name      string // of the parameter that leads here
	methods   map[string]*operation
}

func newRouter(table []*operation) (*router, error) {
	r := &router{root: &node{}}
	for _, op := range table {
		for _, prefix := range op.generation.prefixes {
			n := r.root
			for s := range strings.SplitSeq(strings.TrimPrefix(prefix+op.path, "/"), "/") {
				n = n.child(s)
			}
			if n.methods == nil {
				n.methods = make(map[string]*operation)
			}
			if n.methods[op.method] != nil {
				return nil, fmt.Errorf("%s %s%s stands twice in the table", op.method, prefix, op.path)
			}
			n.methods[op.method] = op
		}
	}
	return r, nil
}

// child gives the node below n for one segment of a pattern, making it if need be.
func (n *node) child(segment string) *node {
	if name, ok := strings.CutPrefix(segment, "{"); ok {
		if n.parameter == nil {
			n.parameter = &node{name: strings.TrimSuffix(name, "}")}
		}
		return n.parameter
	}
	if n.literal == nil {
		n.literal = make(map[string]*node)
	}
	if n.literal[segment] == nil {
		n.literal[segment] = &node{}
	}
	return n.literal[segment]
}

// place is where a path leads.
type place struct {
	node       *node
	segments   []string          // decoded
	parameters map[string]string // by name
}

// find gives the place of an escaped path; ok is false when nothing is served there.
func (r *router) find(escaped string) (p place, ok bool) {
	if p.segments, ok = clean(escaped); !ok {
		return p, false
	}
	p.node, p.parameters = r.root, make(map[string]string)
	for _, s := range p.segments {
		next := p.node.literal[s]
		if next == nil {
			if next = p.node.parameter; next == nil {
				return p, false
			}
			p.parameters[next.name] = s
		}
		p.node = next
	}
	return p, len(p.node.methods) > 0
}

// path is the path with every segment as one: a slash within it stays escaped, and so does what is that escape itself.
func (p place) path() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteString("/")
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(s, "%2F", "%252F"), "/", "%2F"))
	}
	return b.String()
}

// clean splits and decodes a path once, and refuses every segment that another reader of the
// path might take for something else: unescaped dots, and control characters.
func clean(escaped string) ([]string, bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil, false
	}
	segments := strings.Split(rest, "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil || s == "" || s == "." || s == ".." || !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, unicode.IsControl) {
			return nil, false
		}
		segments[i] = decoded
	}
	return segments, true
}

// allowed lists the methods of a place, for the Allow header.
func (n *node) allowed() string {
	methods := []string{"OPTIONS"}
	for m := range n.methods {
		methods = append(methods, m)
		if m == "GET" {
			methods = append(methods, "HEAD")
		}
	}
	sort.Strings(methods)
	return strings.Join(methods, ", ")
}
