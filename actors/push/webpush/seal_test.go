package webpush

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func private(t *testing.T, scalar []byte) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.P256().NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The example of RFC 8291, appendix A.
const (
	exampleText     = "When I grow up, I want to be a watermelon"
	exampleSender   = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
	exampleReceiver = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
	examplePublic   = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	exampleAuth     = "BTBZMqHH6r4Tts7J_aSIgg"
	exampleSalt     = "DGv6ra1nlYgDCS1FRnbzlw"
	exampleSealed   = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

func TestSealIsTheExampleOfTheRFC(t *testing.T) {
	got, err := seal([]byte(exampleText), unbase64(t, examplePublic), unbase64(t, exampleAuth),
		private(t, unbase64(t, exampleSender)), [saltBytes]byte(unbase64(t, exampleSalt)))
	if err != nil {
		t.Fatal(err)
	}
	if want := unbase64(t, exampleSealed); !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", hex.EncodeToString(got), hex.EncodeToString(want))
	}
	if text := unseal(t, got, private(t, unbase64(t, exampleReceiver)), unbase64(t, exampleAuth)); text != exampleText {
		t.Errorf("the receiver reads %q", text)
	}
}

// unseal is the receiver's side, written for the test: a browser's.
func unseal(t *testing.T, body []byte, receiver *ecdh.PrivateKey, auth []byte) string {
	t.Helper()
	if len(body) < headBytes || binary.BigEndian.Uint32(body[saltBytes:]) != recordBytes || body[saltBytes+4] != 65 {
		t.Fatalf("no head of one record: %x", body)
	}
	salt, own := body[:saltBytes], body[saltBytes+5:headBytes]
	sender, err := ecdh.P256().NewPublicKey(own)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := receiver.ECDH(sender)
	if err != nil {
		t.Fatal(err)
	}
	about := "WebPush: info\x00" + string(receiver.PublicKey().Bytes()) + string(own)
	secret, err := hkdf.Key(sha256.New, shared, auth, about, 32)
	if err != nil {
		t.Fatal(err)
	}
	box, nonce, err := boxOf(secret, salt)
	if err != nil {
		t.Fatal(err)
	}
	text, err := box.Open(nil, nonce, body[headBytes:], nil)
	if err != nil {
		t.Fatalf("the message does not open: %v", err)
	}
	if len(text) == 0 || text[len(text)-1] != 2 {
		t.Fatalf("no delimiter of the last record: %x", text)
	}
	return string(text[:len(text)-1])
}

func TestSealRefuses(t *testing.T) {
	sender := private(t, unbase64(t, exampleSender))
	auth := unbase64(t, exampleAuth)
	for what, c := range map[string]struct {
		text string
		key  []byte
	}{
		"a text that fills more than a record": {strings.Repeat("x", recordBytes-sealedMore+1), unbase64(t, examplePublic)},
		"a key that is no point":               {"x", append([]byte{4}, bytes.Repeat([]byte{1}, 64)...)},
		"no key":                               {"x", nil},
	} {
		if _, err := seal([]byte(c.text), c.key, auth, sender, [saltBytes]byte{}); err == nil {
			t.Errorf("%s was sealed", what)
		}
	}
	if out, err := seal(bytes.Repeat([]byte("x"), recordBytes-sealedMore), unbase64(t, examplePublic), auth, sender, [saltBytes]byte{}); err != nil || len(out) != recordBytes {
		t.Errorf("a full record: %d bytes, %v", len(out), err)
	}
}
