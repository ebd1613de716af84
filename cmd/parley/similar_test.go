package main

import (
	"slices"
	"testing"
)

func TestSimilar(t *testing.T) {
	names := []string{"cluster", "certs", "config", "completion", "setup", "serve", "user:create"}
	for word, want := range map[string][]string{
		"clustr": {"cluster"}, "clutser": {"cluster"}, "CLUSTER": {"cluster"}, "c": {"cluster", "certs", "config", "completion"}, "serv": {"serve"},
		"cert": {"certs"}, "user:crate": {"user:create"}, "usercreate": {"user:create"}, "xyz": nil, "status": nil, "": names,
	} {
		if got := similar(word, names); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
	for pair, want := range map[[2]string]int{{"", ""}: 0, {"", "ab"}: 2, {"ab", ""}: 2, {"kitten", "sitting"}: 3, {"äö", "ao"}: 2} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("%q is %d from %q, want %d", pair[0], got, pair[1], want)
		}
	}
}
