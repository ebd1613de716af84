package main

import (
	"net"
	"strings"
	"testing"

	"parley/cluster/recovery"
)

// TestWhoMayBeDead: a member that answers is not dead; at the address of a store that was removed before,
// anybody may answer.
func TestWhoMayBeDead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := []string{listener.Addr().String()}
	s := &survivor{report: &recovery.Report{Node: "n1", Store: "store-1"}}
	members := []recovery.Member{
		{Node: "n1", Store: "store-1"}, {Node: "n2", Store: "store-2", Removed: true, Addresses: taken},
		{Node: "n3", Store: "store-3", Removed: true, Addresses: taken}, {Node: "n3", Store: "store-4"},
		{Node: "n4", Store: "store-5", Addresses: taken},
	}
	for _, c := range []struct {
		dead []string
		want string // in the refusal, "" = none
	}{
		{[]string{"n2"}, ""},
		{[]string{"n2", "n3"}, ""},
		{[]string{"n2", "n4"}, "node n4 answers at"},
		{[]string{"n1"}, "n1 is this very node"},
		{[]string{"n9"}, `no member "n9"; it has n1, n2, n3, n4`},
	} {
		err := s.absent(t.Context(), members, c.dead)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.dead, err)
		}
	}
}
