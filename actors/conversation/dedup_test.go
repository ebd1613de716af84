package conversation_test

import (
	"testing"

	nodev1 "parley/proto/node/v1"
)

// TestDedupIsReplicatedState shows invariant I8: what makes a retry the same send stands in the
// rows that the write of the event itself put there, which every replica applies. A machine that
// was never told of the first send, and knows rows alone, finds it; and finds it again after an
// hour and after others have spoken.
func TestDedupIsReplicatedState(t *testing.T) {
	for name, forgetful := range map[string]bool{"one activation": false, "rows alone": true} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t)
			h.Forgetful = forgetful
			send := func(client string) *nodev1.Reply {
				cmd := posting("text", `{"text":"hi"}`)
				cmd.ClientId = client
				return h.must(asUser("ann"), cmd)
			}
			first := send("m1")
			second := send("m2")
			if second.Duplicate || second.GetEvent().GetEvent().GetSequence() != first.GetEvent().GetEvent().GetSequence()+1 {
				t.Fatalf("another client id: %v", second)
			}
			h.Now += 3_600_000
			again := send("m1")
			if !again.Duplicate || again.GetEvent().GetEvent().GetSequence() != first.GetEvent().GetEvent().GetSequence() {
				t.Errorf("the retry of %v: %v", first, again)
			}
		})
	}
}
