package socketio

import "testing"

// TestWhatIsAReceipt: an application's own events never are, whatever their names.
func TestWhatIsAReceipt(t *testing.T) {
	for kind, want := range map[string]bool{
		"text:delivered": true, "image:seen": true, "event:delivered": true, "message:seen": true,
		"text": false, "custom:seen": false, "text:typing:on": false, "custom:x:delivered": false,
	} {
		if got := isReceipt(kind); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
