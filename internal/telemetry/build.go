package telemetry

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Build tells which source a binary was made from.
type Build struct {
	Version  string `json:"version"`  // module version, or "devel"
	Revision string `json:"revision"` // commit, empty when built outside a checkout
	Modified bool   `json:"modified"` // the checkout had changes
	Time     string `json:"time"`     // of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// CurrentBuild reads what the linker recorded about this binary.
func CurrentBuild() Build {
	b := Build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := recorded.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range recorded.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is the line that `parley version` prints.
func (b Build) String() string {
	s := "parley " + b.Version
	if b.Revision != "" {
		s += fmt.Sprintf(" (%.12s", b.Revision)
		if b.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return s + " " + b.Go + " " + b.Platform
}
