package keys_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestEveryKeyIsDocumented keeps docs/formats.md honest: each function that makes a key stands
// there, in the row of its table or prefix.
func TestEveryKeyIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // "| 0x12 |" -> the line
	for line := range strings.Lines(string(doc)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			rows[strings.TrimSpace(cells[1])] += line
		}
	}
	file, err := os.Open("testdata/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var name, text string
		fmt.Sscan(lines.Text(), &name, &text)
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprintf("`%c`", key[0])
		if key[0] == 's' && len(key) > 5 {
			at = fmt.Sprintf("0x%02x", key[5])
		}
		name, _, _ = strings.Cut(name, "(")
		name, _, _ = strings.Cut(name, "[")
		where := rows[at]
		if name == "Span" || name == "ConversationPrefixes" {
			where = string(doc)
		}
		if !strings.Contains(where, "`"+name+"`") {
			t.Errorf("docs/formats.md does not name %s in the row of %s", name, at)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
