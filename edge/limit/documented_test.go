package limit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestRatesAreDocumented: docs/errors.md has the rates that hold.
func TestRatesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for s, r := range DefaultOptions().Rates {
		if row := fmt.Sprintf("| %s | %s | `%s` |", thousands(r.PerSecond), thousands(r.Burst), Scope(s)); !strings.Contains(string(text), row) {
			t.Errorf("docs/errors.md has no row that ends in %q", row)
		}
	}
}

// thousands writes a number as the documents do: 1,000.
func thousands(n float64) string {
	text := strconv.FormatFloat(n, 'f', -1, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
