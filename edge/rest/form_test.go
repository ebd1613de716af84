package rest_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/internal/spent"
)

// TestFormsOfManyObjects: dotted keys make objects, which count like fields. Who has not said yet who he is can
// send such a form, where an API key may stand in it.
func TestFormsOfManyObjects(t *testing.T) {
	w := newWorld(t, settings{})
	var form strings.Builder
	for i := 0; form.Len() < 250_000; i++ {
		fmt.Fprintf(&form, "%d%s=&", i, strings.Repeat(".a", 28))
	}
	for path, token := range map[string]string{"/v1/applications": "", "/beta/conversations": w.admin()} {
		spent.Little(t, path, func() {
			a := w.do(request{method: "POST", path: path, token: token, body: form.String(),
				header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
			if a.status != 400 || !strings.Contains(string(a.raw), "fields") {
				t.Errorf("%s: answered %d %.200s", path, a.status, a.raw)
			}
		})
	}
}
