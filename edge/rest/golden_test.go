package rest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// names gives what differs from run to run a name that does not, and back.
type names struct {
	toName, toReal map[string]string
	count          map[string]int
}

var (
	idPattern   = regexp.MustCompile(`(CON|USR|MEM|NAM)-[0-9a-f]{8}-[0-9a-f-]{27}`)
	timePattern = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	nonce       = regexp.MustCompile(`"instance": "[0-9a-f]{32}"`)
	cursors     = regexp.MustCompile(`cursor=[\w-]+`)
	nameForm    = regexp.MustCompile(`(CON|USR|MEM|NAM)-\d+`)
)

func (n *names) hide(w *world, text string) string {
	text = idPattern.ReplaceAllStringFunc(text, func(id string) string {
		if n.toName[id] == "" {
			kind := id[:3]
			n.count[kind]++
			n.toName[id] = fmt.Sprintf("%s-%d", kind, n.count[kind])
			n.toReal[n.toName[id]] = id
		}
		return n.toName[id]
	})
	text = nonce.ReplaceAllString(timePattern.ReplaceAllString(text, `"TIME"`), `"instance": "INSTANCE"`)
	text = cursors.ReplaceAllString(strings.ReplaceAll(text, w.app.id, "APPLICATION"), "cursor=CURSOR")
	return strings.NewReplacer(w.url, "URL", "ws"+strings.TrimPrefix(w.url, "http"), "WSURL").Replace(text)
}

func (n *names) show(text string) string {
	return nameForm.ReplaceAllStringFunc(text, func(name string) string {
		if real := n.toReal[name]; real != "" {
			return real
		}
		return name
	})
}

// The bodies of the generations, word for word, a file for each story. Each step is
//
//	METHOD as=<admin or a user's name> path=<path>
//	<JSON, or a form>
func TestGoldenBodies(t *testing.T) {
	datadriven.Walk(t, "testdata/bodies", func(t *testing.T, path string) {
		w := newWorld(t, settings{})
		n := &names{map[string]string{}, map[string]string{}, map[string]int{}}
		datadriven.RunTest(t, path, n.step(w))
	})
}

func (n *names) step(w *world) func(*testing.T, *datadriven.TestData) string {
	return func(t *testing.T, d *datadriven.TestData) string {
		var as, path string
		d.ScanArgs(t, "as", &as)
		d.ScanArgs(t, "path", &path)
		token := w.admin()
		if as != "admin" {
			token = w.as(as)
		}
		var body any
		if input := n.show(strings.TrimSpace(d.Input)); strings.HasPrefix(input, "{") {
			body = input
		} else if input != "" {
			form, err := url.ParseQuery(input)
			must(t, err)
			body = form
		}
		got := w.call(strings.ToUpper(d.Cmd), n.show(path), token, body)
		if bytes.Contains(got.raw, []byte(":null")) {
			t.Errorf("%s: what is absent is told as null, which strict clients refuse: %s", path, got.raw)
		}
		var indented bytes.Buffer
		if len(got.raw) > 0 {
			must(t, json.Indent(&indented, bytes.TrimSpace(got.raw), "", " "))
			indented.WriteByte('\n')
		}
		return n.hide(w, fmt.Sprintf("%d\n%s", got.status, indented.String()))
	}
}
