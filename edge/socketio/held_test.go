package socketio

import (
	"testing"

	"parley/edge/engineio"
)

// TestWhatIsHeldIsBounded: of one connection, and of all together; and what is let go makes room.
func TestWhatIsHeldIsBounded(t *testing.T) {
	h := &Handler{options: DefaultOptions()}
	h.options.HeldBytesMax, h.options.HeldBytesNode = 100<<10, 250<<10
	body := make([]byte, 30<<10)
	fill := func() (c *conn, held int) {
		c = &conn{handler: h, wire: &engineio.Conn{}}
		for c.hold(&request{kind: "text", body: body}) {
			held++
		}
		return c, held
	}
	first, held := fill()
	if held != 3 {
		t.Errorf("one connection holds %d", held)
	}
	fill()
	if _, held = fill(); held != 2 {
		t.Errorf("the third of them holds %d", held)
	}
	if got := len(first.letGo()); got != 3 {
		t.Errorf("let go of %d", got)
	}
	if _, held = fill(); held != 3 {
		t.Errorf("with room again: %d", held)
	}
}
