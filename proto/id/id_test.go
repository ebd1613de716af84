package id

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseTakesOnlyTheCanonicalForm(t *testing.T) {
	const good = "CON-0de7a7b5-6f5a-4f6a-8a44-2f7a3d1c9b10"
	for _, s := range []string{good, New(Conversation)} {
		if b, err := Parse(Conversation, s); err != nil || Format(Conversation, b) != s {
			t.Fatalf("%s does not survive a round trip: %v", s, err)
		}
	}
	for _, bad := range []string{"", "CON-", "con-" + good[4:], strings.ToUpper(good), good + "0", good[4:],
		"USR-" + good[4:], "CON-{" + good[5:39] + "}", strings.ReplaceAll(good, "-", ""), "CON-" + strings.Repeat("\x00", 36)} {
		if _, err := Parse(Conversation, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestNewAtSaysWhen: the time comes back to the millisecond, and no other identifier has one.
func TestNewAtSaysWhen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms"))
		s := NewAt(Session, at)
		if got, ok := MadeAt(Session, s); !ok || !got.Equal(at) {
			t.Fatalf("%s was made at %v, says %v, %v", s, at, got, ok)
		}
		if _, ok := MadeAt(User, s); ok {
			t.Fatalf("%s is taken for a user", s)
		}
	})
	if NewAt(Session, time.UnixMilli(1)) == NewAt(Session, time.UnixMilli(1)) {
		t.Error("two of one millisecond are the same")
	}
	for _, s := range []string{"", "SES-", New(Session), Derive(Session, "a", "", "k")} {
		if at, ok := MadeAt(Session, s); ok {
			t.Errorf("%q says that it was made at %v", s, at)
		}
	}
}

// TestAMarkStays beside the time, and nothing else that makes identifiers makes one with a certain mark.
func TestAMarkStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms"))
		mark := rapid.ByteRange(1, 15).Draw(t, "mark")
		s := NewMarkedAt(Session, at, mark)
		if got := MarkOf(Session, s); got != mark {
			t.Fatalf("%s has mark %d, want %d", s, got, mark)
		}
		if made, ok := MadeAt(Session, s); !ok || !made.Equal(at) {
			t.Fatalf("%s was made at %v, %v; want %v", s, made, ok, at)
		}
		if MarkOf(User, s) != 0 {
			t.Fatalf("%s has a mark as a user", s)
		}
	})
	for _, s := range []string{"", "SES-", New(Session), Derive(Session, "a", "", "k"), "SES-01a20253-e11b-7c19-a556-6eee066efc66"} {
		if mark := MarkOf(Session, s); mark != 0 {
			t.Errorf("%q has mark %d", s, mark)
		}
	}
}

func TestDeriveIsAFunctionOfItsFourInputsAlone(t *testing.T) {
	// Golden: a retry after an upgrade must meet the same thing.
	if got, want := Derive(User, "app", "ann", "key"), "USR-0f59abbd-664b-584c-a10b-ddc793d555db"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.StringMatching(`[a-z]{0,3}`)
		a := [3]string{field.Draw(t, "a0"), field.Draw(t, "a1"), field.Draw(t, "a2")}
		b := [3]string{field.Draw(t, "b0"), field.Draw(t, "b1"), field.Draw(t, "b2")}
		same := Derive(User, a[0], a[1], a[2]) == Derive(User, b[0], b[1], b[2])
		if same != (a == b) {
			t.Fatalf("%v and %v: same id is %v", a, b, same)
		}
	})
}
