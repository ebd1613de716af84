package arch

import (
	"fmt"
	"go/ast"
)

const (
	fileLinesMax     = 400
	testLinesMax     = 600 // tables are long, but are not read from top to bottom
	functionLinesMax = 70
	nestingMax       = 4
	parametersMax    = 5
)

// fileSizes: a file that does not fit in a head is two subjects.
func fileSizes(files []*source) []finding {
	var found []finding
	for _, f := range files {
		limit := fileLinesMax
		if f.test {
			limit = testLinesMax
		}
		if f.lines > limit {
			found = append(found, finding{f.path, f.lines, fmt.Sprintf("%d lines, at most %d: split it by subject", f.lines, limit)})
		}
	}
	return found
}

// manyParameters may have more, because their parameters are an order and not a thing.
var manyParameters = map[string]bool{
	"persistence/keys.Outbox": true, // the parts of a key
}

// functionSizes: bounded lines, parameters and nesting. Tests, which tell a story from top to
// bottom, are only bounded in nesting.
func functionSizes(files []*source) []finding {
	var found []finding
	for _, f := range files {
		for _, d := range f.syntax.Decls {
			function, ok := d.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			report := func(format string, args ...any) {
				found = append(found, finding{f.path, f.line(function), function.Name.Name + ": " + fmt.Sprintf(format, args...)})
			}
			if lines := f.set.Position(function.End()).Line - f.line(function) + 1; lines > functionLinesMax && !f.test {
				report("%d lines, at most %d: name its parts", lines, functionLinesMax)
			}
			if n := parameters(f, function); n > parametersMax && !f.test && !manyParameters[f.dir+"."+function.Name.Name] {
				report("%d parameters, at most %d: some of them are one thing", n, parametersMax)
			}
			if depth := nesting(function.Body, 0); depth > nestingMax {
				report("nested %d deep, at most %d: return early or name the inner part", depth, nestingMax)
			}
		}
	}
	return found
}

// parameters counts all but a leading context.
func parameters(f *source, d *ast.FuncDecl) int {
	n := d.Type.Params.NumFields()
	if n > 0 && selector(f, d.Type.Params.List[0].Type) == "context.Context" {
		n--
	}
	return n
}

// nesting counts statements within statements; an else-if is no deeper than its if, and a
// function literal starts anew.
func nesting(n ast.Node, depth int) int {
	deepest := depth
	ast.Inspect(n, func(child ast.Node) bool {
		if child == nil || child == n {
			return true
		}
		switch child := child.(type) {
		case *ast.IfStmt:
			deepest = max(deepest, ifNesting(child, depth+1))
		case *ast.ForStmt:
			deepest = max(deepest, nesting(child.Body, depth+1))
		case *ast.RangeStmt:
			deepest = max(deepest, nesting(child.Body, depth+1))
		case *ast.SwitchStmt:
			deepest = max(deepest, nesting(child.Body, depth+1))
		case *ast.TypeSwitchStmt:
			deepest = max(deepest, nesting(child.Body, depth+1))
		case *ast.SelectStmt:
			deepest = max(deepest, nesting(child.Body, depth+1))
		case *ast.FuncLit:
			deepest = max(deepest, nesting(child.Body, 0))
		default:
			return true
		}
		return false
	})
	return deepest
}

func ifNesting(n *ast.IfStmt, depth int) int {
	deepest := nesting(n.Body, depth)
	switch other := n.Else.(type) {
	case *ast.IfStmt:
		deepest = max(deepest, ifNesting(other, depth))
	case *ast.BlockStmt:
		deepest = max(deepest, nesting(other, depth))
	}
	return deepest
}
