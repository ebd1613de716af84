package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is the path of the module that is checked.
const module = "parley"

// source is one Go file.
type source struct {
	path      string // from the module's root, with slashes
	dir       string // of path; "." at the root
	lines     int
	generated bool
	test      bool
	set       *token.FileSet
	syntax    *ast.File
}

// line of a node.
func (s *source) line(n ast.Node) int { return s.set.Position(n.Pos()).Line }

// finding is one place where a rule is broken.
type finding struct {
	path string
	line int
	text string
}

// parse reads one file's text.
func parse(path string, text []byte) (*source, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &source{
		path: path, dir: filepath.ToSlash(filepath.Dir(path)), lines: bytes.Count(text, []byte("\n")),
		generated: ast.IsGenerated(syntax), test: strings.HasSuffix(path, "_test.go"), set: set, syntax: syntax,
	}, nil
}

// tree reads every Go file of the module that is written by hand.
func tree(t *testing.T) []*source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []*source
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "testdata" || entry.Name() == "data" || strings.HasPrefix(entry.Name(), ".")) {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(relative), text)
		if err != nil {
			return err
		}
		if !s.generated {
			files = append(files, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files found: the rules would check nothing", len(files))
	}
	return files
}

// samples parses small files given by path.
func samples(t *testing.T, texts map[string]string) []*source {
	t.Helper()
	var files []*source
	for path, text := range texts {
		s, err := parse(path, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, s)
	}
	return files
}
