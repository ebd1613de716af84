package rest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"testing"

	"parley/proto/code"
)

// codes reads the closed set from its declaration.
func codes(t *testing.T) map[code.Code]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../proto/code/code.go", nil, 0)
	must(t, err)
	set := map[code.Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Code" {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			must(t, err)
			set[code.Code(text)] = true
		}
		return true
	})
	return set
}

func TestErrorsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/errors.md")
	must(t, err)
	documented := map[code.Code]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\d+) \\|[^|]+\\|[^|]+\\|$").FindAllStringSubmatch(string(raw), -1) {
		documented[code.Code(m[1])] = m[2]
	}
	all := codes(t)
	if len(all) < 20 {
		t.Fatalf("only %d codes were found", len(all))
	}
	for c := range all {
		if want := strconv.Itoa(code.New(c, "").HTTPStatus()); documented[c] != want {
			t.Errorf("%s: docs/errors.md says status %q, want %s", c, documented[c], want)
		}
	}
	for c := range documented {
		if !all[c] {
			t.Errorf("docs/errors.md has %s, which does not exist", c)
		}
	}
}
