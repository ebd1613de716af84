package api_test

import (
	"testing"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestANameIsForThoseWhoMayRead: to a stranger a conversation's name is that of nobody, in the same words.
func TestANameIsForThoseWhoMayRead(t *testing.T) {
	_, _, a := newWorld(t)
	ann := &nodev1.Principal{ApplicationId: app, UserId: "USR-00000000-0000-4000-8000-000000000001", UserName: "ann"}
	eve := &nodev1.Principal{ApplicationId: app, UserId: "USR-00000000-0000-4000-8000-000000000002", UserName: "eve"}
	c, _, err := a.CreateConversation(t.Context(), ann, "", &eventv1.Conversation{Name: "lunch"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*nodev1.Principal{ann, admin} {
		if got, err := a.ResolveConversation(t.Context(), p, "lunch"); err != nil || got != c.Id {
			t.Errorf("%s: %s, %v", p.UserName, got, err)
		}
	}
	_, there := a.ResolveConversation(t.Context(), eve, "lunch")
	_, nowhere := a.ResolveConversation(t.Context(), eve, "supper")
	_, byID := a.GetConversation(t.Context(), eve, c.Id, false)
	if there == nil || nowhere == nil || byID == nil || there.Error() != nowhere.Error() || there.Error() != byID.Error() {
		t.Errorf("a stranger tells them apart: %v; %v; %v", there, nowhere, byID)
	}
}
