package media_test

import (
	"bytes"
	"strings"
	"testing"

	"parley/internal/spent"
)

// TestThePartWithALongHeader is refused before its header fills the memory.
func TestThePartWithALongHeader(t *testing.T) {
	w := newWorld(t, settings{})
	user := w.as("ann")
	long := strings.Repeat("x", 9<<20)
	for name, head := range map[string]string{
		"one line":  "Content-Disposition: form-data; name=\"file\"; filename=\"" + long + "\"\r\n",
		"two lines": "Content-Disposition: form-data; name=\"file\"\r\nX-Other: " + long + "\r\n",
	} {
		body := []byte("--x\r\n" + head + "\r\nGIF89a\r\n--x--\r\n")
		spent.Little(t, name, func() {
			a := w.do(request{method: "POST", path: "/v1/image", token: user, kind: "multipart/form-data; boundary=x", body: bytes.NewReader(body)})
			if a.status != 413 {
				t.Errorf("%s: answered %d %.200s", name, a.status, a.raw)
			}
		})
	}
}
