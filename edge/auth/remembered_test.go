package auth

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// claimsOf are those of a token of a user, with a list of paths.
func claimsOf(t testing.TB, user string, paths object) *Claims {
	t.Helper()
	text, err := json.Marshal(object{"application_id": application, "iat": 1_700_000_000, "jti": "a-token-of-" + user,
		"sub": user, "acl": object{"paths": paths}})
	if err != nil {
		t.Fatal(err)
	}
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	c, err := p.claims(&o)
	if err != nil {
		t.Fatal(err)
	}
	c.UserID = strings.Clone("USR-00000000-0000-0000-0000-000000000000")
	return c
}

// newMemory is a Verifier that remembers little.
func newMemory(t testing.TB) *Verifier {
	t.Helper()
	o := DefaultOptions()
	o.TokensBytes = 2 << 20
	v, err := New(&directory{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// remember puts n tokens into what v remembers, each with the paths.
func remember(t testing.TB, v *Verifier, n int, paths object) {
	t.Helper()
	for i := range n {
		user := fmt.Sprintf("user-%d", i)
		v.tokens.Put(sha256.Sum256([]byte(user)), &verified{claims: claimsOf(t, user, paths)})
	}
}

// lists are of tokens as they are: for everything, as the official SDKs want it, and as long as it may be.
func lists() map[string]object {
	sdk, long := object{}, object{}
	for _, s := range []string{"users", "conversations", "sessions", "devices", "image", "media", "push", "knocking", "legs"} {
		sdk["/*/"+s+"/**"] = object{}
	}
	for i := range rulesMax {
		long[fmt.Sprintf("/%d/a/b/c/d/e/f", i)] = object{"methods": []string{"GET", "PUT"}}
	}
	return map[string]object{"everything": {"/**": object{}}, "official": sdk, "long": long}
}

// Verified tokens take no more memory than they may, however many there are and whatever stands in them.
func TestTokensAreBounded(t *testing.T) {
	for name, paths := range lists() {
		v := newMemory(t)
		most := 2 * v.options.TokensBytes
		one := (&verified{claims: claimsOf(t, "user-0", paths)}).bytes()
		remember(t, v, 3*most/one, paths)
		if held := v.tokens.Weight(); held > most || held < most/2-one {
			t.Errorf("%s: %d bytes of %d are held", name, held, most)
		}
	}
}

// What a token is taken to weigh is about what it takes in memory: the bound is one of memory.
func TestTokensWeighWhatTheyTake(t *testing.T) {
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for name, paths := range lists() {
		v := newMemory(t)
		one := (&verified{claims: claimsOf(t, "user-0", paths)}).bytes()
		before := heap()
		remember(t, v, v.options.TokensBytes*3/4/one, paths)
		took := heap() - before
		said := v.tokens.Weight()
		if ratio := float64(took) / float64(said); ratio < 0.7 || ratio > 1.4 {
			t.Errorf("%s: %d bytes are said to be held, and %d are", name, said, took)
		} else {
			t.Logf("%s: %d bytes each, %.2f of what is said", name, one, ratio)
		}
		runtime.KeepAlive(v)
	}
}
