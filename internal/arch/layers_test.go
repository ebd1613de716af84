package arch

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// layers, from left to right. A package may import only what stands left of it, its own layer,
// and internal.
var layers = []string{"proto", "persistence", "cluster", "actors", "edge", "cmd"}

// free are folders outside the layers: tests may import everything.
var free = []string{"test"}

// layerOf gives the place in layers of a directory; ok is false outside of them.
func layerOf(dir string) (int, bool) {
	top, _, _ := strings.Cut(dir, "/")
	i := slices.Index(layers, top)
	return i, i >= 0
}

// arrows: imports point left.
func arrows(files []*source) []finding {
	var found []finding
	for _, f := range files {
		from, layered := layerOf(f.dir)
		top, _, _ := strings.Cut(f.dir, "/")
		if slices.Contains(free, top) {
			continue
		}
		for _, spec := range f.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			dir, own := strings.CutPrefix(imported, module+"/")
			if err != nil || !own {
				continue
			}
			to, ok := layerOf(dir)
			switch {
			case ok && layered && to > from:
				found = append(found, finding{f.path, f.line(spec), fmt.Sprintf("imports %s: arrows point left (%s); let the lower layer declare an interface", imported, strings.Join(layers, " <- "))})
			case ok && !layered && !f.test && to > slices.Index(layers, "proto"):
				found = append(found, finding{f.path, f.line(spec), fmt.Sprintf("imports %s: internal may import proto and internal only", imported)})
			}
		}
	}
	return found
}

// topFolders are all that may stand at the top.
var topFolders = []string{"proto", "persistence", "cluster", "actors", "edge", "cmd", "internal", "test", "sdk", "docs", "deploy"}

// folders: no Go file outside the known top folders.
func folders(files []*source) []finding {
	var found []finding
	for _, f := range files {
		top, _, _ := strings.Cut(f.path, "/")
		if !slices.Contains(topFolders, top) {
			found = append(found, finding{f.path, 1, "stands outside of the known top folders: " + strings.Join(topFolders, ", ")})
		}
	}
	return found
}

// bannedNames say nothing about what a package is.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "base", "data", "info", "impl", "misc", "shared", "lib", "pkg", "core"}

// names: a package is one noun that says what it is about.
func names(files []*source) []finding {
	var found []finding
	for _, f := range files {
		if slices.Contains(bannedNames, f.syntax.Name.Name) || slices.Contains(bannedNames, path.Base(f.dir)) {
			found = append(found, finding{f.path, 1, "package " + f.syntax.Name.Name + ": name it by what it is about"})
		}
	}
	return found
}
