package ws_test

import (
	"testing"

	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// TestASessionEndsWithItsApplication: the connection is closed as terminated, and from the moment the
// deletion is answered nothing is stored, also of whom the deletion has not reached.
func TestASessionEndsWithItsApplication(t *testing.T) {
	n := newNode(t)
	ann := n.user("ann")
	con := n.conversation(ann)
	c := n.login("ann")
	if err := n.cluster.DeleteApplication(t.Context(), n.app); err != nil {
		t.Fatal(err)
	}
	as := &nodev1.Principal{ApplicationId: n.app, UserId: ann.Id}
	if _, err := n.cluster.Post(t.Context(), as, con, "", &nodev1.PostEvent{Type: "text", Body: []byte(`{"text":"x"}`)}); !code.Has(err, code.ApplicationNotFound) {
		t.Errorf("a post after the deletion: %v", err)
	}
	if _, err := n.cluster.ListEvents(t.Context(), as, con, &nodev1.ListEvents{}); !code.Has(err, code.ApplicationNotFound) {
		t.Errorf("a read after the deletion: %v", err)
	}
	told := make(chan error, 1)
	n.cluster.PostAsync(t.Context(), as, con, "", &nodev1.PostEvent{Type: "text", Body: []byte(`{"text":"x"}`)},
		func(_ *nodev1.Reply, err error) { told <- err })
	if err := <-told; !code.Has(err, code.ApplicationNotFound) {
		t.Errorf("a post after the deletion, without waiting: %v", err)
	}
	if got, _ := c.closed(); got != 4302 {
		t.Errorf("closed with %d", got)
	}
}

// TestASessionEndsWithItsKey: whoever has a token of a replaced key has to log in again; who went on with
// one of the new key has not.
func TestASessionEndsWithItsKey(t *testing.T) {
	n := newNode(t)
	con := n.conversation(n.user("ann"), n.user("bob"))
	ann, bob := n.login("ann"), n.login("bob")
	put := func(previous string) {
		row := &eventv1.Application{Id: n.app, Name: "tests", PublicKey: solo.PublicKey(t, solo.Key(t, 1)), PreviousPublicKey: previous}
		if _, err := n.cluster.PutApplication(t.Context(), row, false); err != nil {
			t.Fatal(err)
		}
	}
	put(solo.PublicKey(t, solo.Key(t, 0))) // for a while both are good
	fresh := solo.Token(t, n.app, solo.Key(t, 1), solo.Claims{"sub": "bob", "acl": solo.Claims{"paths": solo.Claims{"/**": solo.Claims{}}}})
	if a := bob.try(frame{"type": "update_token", "id": "u", "token": fresh}); a["type"] != "ack" {
		t.Fatalf("update_token: %v", a)
	}
	put("")
	if got, _ := ann.closed(); got != 4200 {
		t.Errorf("closed with %d", got)
	}
	if a := bob.ask(frame{"type": "post", "id": "p", "conversation": con, "event_type": "text", "body": frame{"text": "hi"}}); a["type"] != "ack" {
		t.Errorf("with the new key: %v", a)
	}
}
