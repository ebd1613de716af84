package telemetry

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRegistryTellsTheBuild(t *testing.T) {
	r := NewRegistry()
	if n, err := testutil.GatherAndCount(r, "parley_build_info"); err != nil || n != 1 {
		t.Errorf("parley_build_info: %d series, %v", n, err)
	}
	if n, err := testutil.GatherAndCount(r, "go_goroutines"); err != nil || n != 1 {
		t.Errorf("go_goroutines: %d series, %v", n, err)
	}
}

func TestBuildString(t *testing.T) {
	b := Build{Version: "v1.2.0", Revision: "0123456789abcdef", Modified: true, Go: "go1.26", Platform: "linux/amd64"}
	if got, want := b.String(), "parley v1.2.0 (0123456789ab, modified) go1.26 linux/amd64"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := CurrentBuild().String(); !strings.HasPrefix(got, "parley ") || !strings.Contains(got, "go1.") {
		t.Errorf("current build: %q", got)
	}
}
