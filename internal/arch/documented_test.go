package arch

import (
	"go/ast"
	"slices"
	"strings"
)

// packageComments: every package says in one place what it is about.
func packageComments(files []*source) []finding {
	first := map[string]*source{}
	documented := map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		if first[f.dir] == nil || f.path < first[f.dir].path {
			first[f.dir] = f
		}
		if f.syntax.Doc != nil && len(f.syntax.Doc.Text()) > len("Package ") {
			documented[f.dir] = true
		}
	}
	var found []finding
	for dir, f := range first {
		if !documented[dir] {
			found = append(found, finding{f.path, 1, "package " + f.syntax.Name.Name + " has no package comment"})
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.path, b.path) })
	return found
}

// exportedComments: every exported name of a package that others may import is documented.
func exportedComments(files []*source) []finding {
	var found []finding
	for _, f := range files {
		if f.test || f.syntax.Name.Name == "main" {
			continue
		}
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !wellKnown[d.Name.Name] {
					found = append(found, finding{f.path, f.line(d), d.Name.Name + " has no doc comment"})
				}
			case *ast.GenDecl:
				found = append(found, undocumented(f, d)...)
			}
		}
	}
	return found
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	switch generic := t.(type) {
	case *ast.IndexExpr:
		t = generic.X
	case *ast.IndexListExpr:
		t = generic.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported()
}

// undocumented looks into one declaration. A comment on a group covers its members.
func undocumented(f *source, d *ast.GenDecl) []finding {
	if d.Doc != nil {
		return nil
	}
	var found []finding
	report := func(name *ast.Ident) {
		if name.IsExported() {
			found = append(found, finding{f.path, f.line(name), name.Name + " has no doc comment"})
		}
	}
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Doc == nil && spec.Comment == nil {
				report(spec.Name)
			}
		case *ast.ValueSpec:
			if spec.Doc == nil && spec.Comment == nil {
				for _, name := range spec.Names {
					report(name)
				}
			}
		}
	}
	return found
}

// wellKnown methods mean the same everywhere.
var wellKnown = map[string]bool{"String": true, "Error": true, "Unwrap": true, "LogValue": true}
