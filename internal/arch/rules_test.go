package arch

import "testing"

// rule finds places in files that break it.
type rule struct {
	name string
	find func([]*source) []finding
	// bad breaks the rule, good does not: a rule that finds nothing anywhere would look obeyed.
	bad, good map[string]string
	// again says that an earlier row holds the tree to find already.
	again bool
}

func rules() []rule {
	return []rule{
		{"arrows point left", arrows,
			map[string]string{"cluster/x/x.go": "package x\nimport _ \"parley/edge/y\""},
			map[string]string{"cluster/x/x.go": "package x\nimport _ \"parley/proto/y\"", "cmd/p/p.go": "package p\nimport _ \"parley/edge/y\"", "test/sim/s.go": "package sim\nimport _ \"parley/cmd/p\"", "edge/e/e.go": "package e\nimport _ \"parley/internal/invariant\""}, false},
		{"internal stands below", arrows,
			map[string]string{"internal/x/x.go": "package x\nimport _ \"parley/actors/y\""},
			map[string]string{"internal/x/x.go": "package x\nimport _ \"parley/proto/code\""}, true},
		{"top folders", folders,
			map[string]string{"server/x.go": "package x"}, map[string]string{"edge/x/x.go": "package x"}, false},
		{"package names", names,
			map[string]string{"edge/util/x.go": "package util"}, map[string]string{"edge/limit/x.go": "package limit"}, false},
		{"package comments", packageComments,
			map[string]string{"edge/x/x.go": "package x"}, map[string]string{"edge/x/x.go": "// Package x is.\npackage x", "edge/x/y.go": "package x"}, false},
		{"exported names are documented", exportedComments,
			map[string]string{"edge/x/x.go": "package x\ntype T struct{}"},
			map[string]string{"edge/x/x.go": "package x\n// T is.\ntype T struct{}\n// M does.\nfunc (T) M() {}\ntype t struct{}\nfunc (t) N() {}\n// The limits.\nconst (\n A = 1\n B = 2\n)"}, false},
		{"methods are documented", exportedComments,
			map[string]string{"edge/x/x.go": "package x\n// T is.\ntype T[K any] struct{}\nfunc (*T[K]) M() {}"}, nil, true},
		{"file size", fileSizes,
			map[string]string{"edge/x/x.go": "package x\n" + repeat("// line\n", fileLinesMax)}, map[string]string{"edge/x/x.go": "package x\n"}, false},
		{"function size", functionSizes,
			map[string]string{"edge/x/x.go": "package x\nfunc f() {\n" + repeat("_ = 1\n", functionLinesMax) + "}"},
			map[string]string{"edge/x/x.go": "package x\nfunc f() {\n" + repeat("_ = 1\n", functionLinesMax-2) + "}"}, false},
		{"parameters", functionSizes,
			map[string]string{"edge/x/x.go": "package x\nfunc f(a, b, c int, d, e, g string) {}"}, map[string]string{"edge/x/x.go": "package x\nimport \"context\"\nfunc f(ctx context.Context, a, b, c, d, e int) {}"}, true},
		{"nesting", functionSizes,
			map[string]string{"edge/x/x.go": "package x\nfunc f() { for { if true { switch { case true: for { if true { return } } } } } }"},
			map[string]string{"edge/x/x.go": "package x\nfunc f() { for { if true {} else if false {} else if true {} else { for { func() { for { if true {} } }() } } } }"}, true},
		{"no sleep", sleeps,
			map[string]string{"edge/x/x_test.go": "package x\nimport clock \"time\"\nfunc f() { clock.Sleep(1) }"}, map[string]string{"edge/x/x.go": "package x\nimport \"time\"\nfunc f() { time.Now() }"}, false},
		{"no timer per turn", afters,
			map[string]string{"edge/x/x.go": "package x\nimport \"time\"\nfunc f() { for { select { case <-time.After(1): } } }"}, map[string]string{"edge/x/x.go": "package x\nimport \"time\"\nfunc f() { <-time.After(1) }"}, false},
		{"contexts come from the caller", contexts,
			map[string]string{"edge/x/x.go": "package x\nimport \"context\"\nfunc f() { context.Background() }"},
			map[string]string{"cmd/x/x.go": "package x\nimport \"context\"\nfunc f() { context.Background() }", "edge/x/x_test.go": "package x\nimport \"context\"\nfunc f() { context.Background() }", "edge/y/y.go": "package y\nimport \"context\"\nfunc f() { context.WithCancel(context.Background()) }"}, false},
		{"goroutines have a parent", goroutines,
			map[string]string{"edge/x/x.go": "package x\nfunc f() { go f() }"}, map[string]string{"edge/x/x_test.go": "package x\nfunc f() { go f() }"}, false},
		{"no init", initializers,
			map[string]string{"edge/x/x.go": "package x\nfunc init() {}"}, map[string]string{"edge/x/x.go": "package x\ntype t int\nfunc (t) init() {}"}, false},
		{"nothing unfinished", todos,
			map[string]string{"edge/x/x.go": "package x\n// TODO: later"}, map[string]string{"edge/x/x.go": "package x\n// mastodon"}, false},
	}
}

func repeat(s string, n int) string {
	var all []byte
	for range n {
		all = append(all, s...)
	}
	return string(all)
}

func TestRulesHold(t *testing.T) {
	files := tree(t)
	for _, r := range rules() {
		if r.again {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			for _, f := range r.find(files) {
				t.Errorf("%s:%d: %s", f.path, f.line, f.text)
			}
		})
	}
}

func TestRulesFind(t *testing.T) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if got := r.find(samples(t, r.bad)); len(got) != 1 {
				t.Errorf("in the bad sample it found %v", got)
			}
			if got := r.find(samples(t, r.good)); len(got) != 0 {
				t.Errorf("in the good sample it found %v", got)
			}
		})
	}
}
