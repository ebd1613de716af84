package arch

import (
	"go/ast"
	"regexp"
	"strconv"
	"strings"
)

// selector gives "time.Sleep" for a call of it, by the import's path and not by its local name.
func selector(f *source, n ast.Expr) string {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	for _, spec := range f.syntax.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == x.Name {
			return path + "." + s.Sel.Name
		}
	}
	return ""
}

// sleeps: waiting for time is waiting for luck.
func sleeps(files []*source) []finding {
	return calls(files, func(f *source, call *ast.CallExpr) string {
		if selector(f, call.Fun) == "time.Sleep" {
			return "time.Sleep: wait for what happens (a channel, a condition), or use a timer that Close stops; in tests testing/synctest"
		}
		return ""
	})
}

// afters: a timer per turn of a loop is garbage until it fires.
func afters(files []*source) []finding {
	var found []finding
	for _, f := range files {
		inLoops(f.syntax, func(n ast.Node) {
			if call, ok := n.(*ast.CallExpr); ok && selector(f, call.Fun) == "time.After" {
				found = append(found, finding{f.path, f.line(call), "time.After in a loop: use one time.Timer and reset it"})
			}
		})
	}
	return found
}

// contexts: below cmd a context comes from the caller, so that cancelling reaches everything. The
// exceptions are a life of its own that ends by itself, as in context.WithTimeout or WithCancel of
// context.Background(), what Close itself must still do, and asking a logger what it would log.
func contexts(files []*source) []finding {
	var found []finding
	for _, f := range files {
		layer, ok := layerOf(f.dir)
		if f.test || !ok || layers[layer] == "cmd" {
			continue
		}
		for _, d := range f.syntax.Decls {
			if function, ok := d.(*ast.FuncDecl); !ok || !closing[strings.ToLower(function.Name.Name)] {
				found = append(found, rootContexts(f, d)...)
			}
		}
	}
	return found
}

// closing functions run when the caller's context has ended already.
var closing = map[string]bool{"close": true, "shutdown": true}

func rootContexts(f *source, d ast.Decl) []finding {
	var found []finding
	ast.Inspect(d, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok && (strings.HasPrefix(selector(f, s), "context.With") || s.Sel.Name == "Enabled") {
			return false
		}
		if name := selector(f, call.Fun); name == "context.Background" || name == "context.TODO" {
			found = append(found, finding{f.path, f.line(call), name + " below cmd: take the context from the caller"})
		}
		return true
	})
	return found
}

// goroutines: each has a parent that waits for it.
func goroutines(files []*source) []finding {
	var found []finding
	for _, f := range files {
		if f.test {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				found = append(found, finding{f.path, f.line(g), "naked go: use group.Go of a group that Close waits for"})
			}
			return true
		})
	}
	return found
}

// initializers: nothing happens because a package is imported.
func initializers(files []*source) []finding {
	var found []finding
	for _, f := range files {
		for _, d := range f.syntax.Decls {
			if function, ok := d.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
				found = append(found, finding{f.path, f.line(function), "init: do it where the thing is opened"})
			}
		}
	}
	return found
}

var todo = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// todos: work that is left stands in the tracker.
func todos(files []*source) []finding {
	var found []finding
	for _, f := range files {
		if f.dir == "internal/arch" {
			continue
		}
		for _, group := range f.syntax.Comments {
			for _, c := range group.List {
				if todo.MatchString(c.Text) {
					found = append(found, finding{f.path, f.line(c), "unfinished: finish it or file an issue"})
				}
			}
		}
	}
	return found
}

func calls(files []*source, judge func(*source, *ast.CallExpr) string) []finding {
	var found []finding
	for _, f := range files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if text := judge(f, call); text != "" {
					found = append(found, finding{f.path, f.line(call), text})
				}
			}
			return true
		})
	}
	return found
}

// inLoops visits all that runs once a turn; a function literal in a loop may run elsewhere.
func inLoops(root ast.Node, visit func(ast.Node)) {
	ast.Inspect(root, func(n ast.Node) bool {
		var body *ast.BlockStmt
		switch loop := n.(type) {
		case *ast.ForStmt:
			body = loop.Body
		case *ast.RangeStmt:
			body = loop.Body
		default:
			return true
		}
		ast.Inspect(body, func(inner ast.Node) bool {
			if _, ok := inner.(*ast.FuncLit); ok {
				return false
			}
			if inner != nil {
				visit(inner)
			}
			return true
		})
		return false
	})
}
