package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/actors/api"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const (
	application = "0de7a7b5-1f8e-4c53-9d4b-6f6f6a3e9a01"
	stranger    = "0de7a7b5-1f8e-4c53-9d4b-6f6f6a3e9a02"
)

// directory is a table of applications, users and credentials in memory.
type directory struct {
	applications map[string]*eventv1.Application
	users        map[string]*eventv1.User // by application/name
	credentials  map[string]*eventv1.Credential
	asked        []api.UserRef
}

func (d *directory) Application(_ context.Context, id string) (*eventv1.Application, error) {
	if a, ok := d.applications[id]; ok {
		return a, nil
	}
	return nil, code.New(code.ApplicationNotFound, "no application %s", id)
}

func (d *directory) GetUser(_ context.Context, p *nodev1.Principal, ref api.UserRef) (*eventv1.User, error) {
	d.asked = append(d.asked, ref)
	for key, u := range d.users {
		if key == p.ApplicationId+"/"+ref.Name || ref.ID != "" && ref.ID == u.Id {
			return u, nil
		}
	}
	return nil, code.New(code.UserNotFound, "no user")
}

func (d *directory) Credential(_ context.Context, key string) (*eventv1.Credential, error) {
	if c, ok := d.credentials[key]; ok {
		return c, nil
	}
	return nil, code.New(code.InvalidCredentials, "no key")
}

// Key pairs are slow to make, and immutable: one set serves all tests.
var pairs = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, rsaBitsMin)
	}
	return keys
})

func publicPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type bench struct {
	*Verifier
	directory *directory
	now       time.Time
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{now: time.Unix(1_700_000_000, 0)}
	b.directory = &directory{
		applications: map[string]*eventv1.Application{
			application: {Id: application, PublicKey: publicPEM(t, &pairs()[0].PublicKey)},
			stranger:    {Id: stranger, PublicKey: publicPEM(t, &pairs()[1].PublicKey)},
		},
		users: map[string]*eventv1.User{application + "/ann": {Id: "USR-1", Name: "ann"}},
	}
	o := DefaultOptions()
	o.Now = func() time.Time { return b.now }
	v, err := New(b.directory, o)
	if err != nil {
		t.Fatal(err)
	}
	b.Verifier = v
	return b
}

type object = map[string]any

// claims are good ones, changed by change; a nil value removes the claim.
func (b *bench) claims(change object) object {
	c := object{"application_id": application, "iat": b.now.Unix(), "jti": "j1", "exp": b.now.Unix() + 600}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func segment(v any) string {
	text, ok := v.(string)
	if !ok {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		text = string(raw)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func rs256(key *rsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return signature
	}
}

func token(header, claims any, sign func(string) []byte) string {
	input := segment(header) + "." + segment(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

func good(claims any) string {
	return token(object{"typ": "JWT", "alg": "RS256"}, claims, rs256(pairs()[0]))
}

func TestTokensThatAreAccepted(t *testing.T) {
	b := newBench(t)
	now := b.now.Unix()
	user := object{"sub": "ann", "acl": object{"paths": object{"/**": object{}}}}
	for name, change := range map[string]object{
		"administrator":            {},
		"user":                     user,
		"exp as numeric string":    {"exp": fmt.Sprint(now + 600)},
		"no exp":                   {"exp": nil},
		"no exp, 14 minutes old":   {"exp": nil, "iat": now - 14*60},
		"exactly a day":            {"exp": now + 86_400},
		"one second left":          {"iat": now - 600, "exp": now + 1},
		"iat a minute ahead":       {"iat": now + 60, "exp": now + 600},
		"nbf a minute ahead":       {"nbf": now + 60},
		"fractional iat":           {"iat": float64(now) + 0.25},
		"unknown claims":           {"iss": "x", "aud": "y", "extra": []int{1}},
		"administrator with acl":   {"acl": object{"paths": object{"/*/users/**": object{}}}},
		"acl with null for a path": {"acl": object{"paths": object{"/**": nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := b.Verify(t.Context(), good(b.claims(change)))
			if err != nil {
				t.Fatal(err)
			}
			if c.ApplicationID != application || c.ExpiresAt.IsZero() {
				t.Errorf("claims = %+v", c)
			}
			if sub, _ := change["sub"].(string); c.UserName != sub || c.Admin() != (sub == "") || (c.UserID != "") != (sub != "") {
				t.Errorf("user = %q %q, admin = %v", c.UserName, c.UserID, c.Admin())
			}
		})
	}
}

func TestClaimsThatAreRefused(t *testing.T) {
	b := newBench(t)
	now := b.now.Unix()
	for name, tc := range map[string]struct {
		change object
		want   code.Code
	}{
		"expired now":             {object{"iat": now - 600, "exp": now}, code.ExpiredToken},
		"expired, as string":      {object{"iat": now - 600, "exp": fmt.Sprint(now - 1)}, code.ExpiredToken},
		"exp before iat":          {object{"exp": now - 5}, code.ExpiredToken},
		"exp zero":                {object{"exp": 0}, code.ExpiredToken},
		"exp negative":            {object{"exp": -1}, code.ExpiredToken},
		"no exp, 15 minutes old":  {object{"exp": nil, "iat": now - 15*60}, code.ExpiredToken},
		"a day and a second":      {object{"exp": now + 86_401}, code.InvalidToken},
		"exp null":                {object{"exp": json.RawMessage("null")}, code.InvalidToken},
		"exp empty string":        {object{"exp": ""}, code.InvalidToken},
		"exp words":               {object{"exp": "tomorrow"}, code.InvalidToken},
		"exp infinite":            {object{"exp": "inf"}, code.InvalidToken},
		"exp hexadecimal":         {object{"exp": "0xffffffff"}, code.InvalidToken},
		"exp object":              {object{"exp": object{}}, code.InvalidToken},
		"exp true":                {object{"exp": true}, code.InvalidToken},
		"exp 1e400":               {object{"exp": json.RawMessage("1e400")}, code.InvalidToken},
		"exp 1e300":               {object{"exp": json.RawMessage("1e300")}, code.InvalidToken},
		"iat 61 seconds ahead":    {object{"iat": now + 61}, code.InvalidToken},
		"iat missing":             {object{"iat": nil}, code.InvalidToken},
		"iat null":                {object{"iat": json.RawMessage("null")}, code.InvalidToken},
		"nbf 61 seconds ahead":    {object{"nbf": now + 61}, code.InvalidToken},
		"nbf list":                {object{"nbf": []int{1}}, code.InvalidToken},
		"jti missing":             {object{"jti": nil}, code.InvalidToken},
		"jti number":              {object{"jti": 1}, code.InvalidToken},
		"application missing":     {object{"application_id": nil}, code.InvalidToken},
		"application number":      {object{"application_id": 5}, code.InvalidToken},
		"application unknown":     {object{"application_id": "0de7a7b5-1f8e-4c53-9d4b-6f6f6a3e9aff"}, code.InvalidToken},
		"application traversal":   {object{"application_id": "../../dev/null"}, code.InvalidToken},
		"application upper case":  {object{"application_id": strings.ToUpper(application)}, code.InvalidToken},
		"other application's key": {object{"application_id": stranger}, code.InvalidToken},
		"sub unknown":             {object{"sub": "bob"}, code.InvalidToken},
		"sub empty":               {object{"sub": ""}, code.InvalidToken},
		"sub null":                {object{"sub": json.RawMessage("null")}, code.InvalidToken},
		"sub number":              {object{"sub": 7}, code.InvalidToken},
		"sub is a user id":        {object{"sub": "USR-1"}, code.InvalidToken},
		"acl null":                {object{"acl": json.RawMessage("null")}, code.InvalidToken},
		"acl string":              {object{"acl": "/**"}, code.InvalidToken},
		"acl empty":               {object{"acl": object{}}, code.InvalidToken},
		"acl list of paths":       {object{"acl": object{"paths": []string{"/**"}}}, code.InvalidToken},
		"acl relative path":       {object{"acl": object{"paths": object{"**": object{}}}}, code.InvalidToken},
		"acl ** inside":           {object{"acl": object{"paths": object{"/**/users": object{}}}}, code.InvalidToken},
		"acl methods not a list":  {object{"acl": object{"paths": object{"/**": object{"methods": "GET"}}}}, code.InvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := b.Verify(t.Context(), good(b.claims(tc.change)))
			if !code.Has(err, tc.want) {
				t.Errorf("Verify = %+v, %v; want %s", c, err, tc.want)
			}
		})
	}
}

func TestForgeriesAreRefused(t *testing.T) {
	b := newBench(t)
	claims := b.claims(nil)
	key := pairs()[0]
	publicKey := b.directory.applications[application].PublicKey
	none := func(string) []byte { return nil }
	hs256 := func(secret string) func(string) []byte {
		return func(input string) []byte {
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte(input))
			return mac.Sum(nil)
		}
	}
	ps256 := func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	es256 := func(input string) []byte {
		ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, ec, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	alg := func(name string) object { return object{"typ": "JWT", "alg": name} }
	fine := good(claims)
	otherSignature := good(b.claims(object{"jti": "j2"}))
	cut := strings.LastIndexByte(fine, '.')

	for name, tok := range map[string]string{
		"alg none":                    token(alg("none"), claims, none),
		"alg None":                    token(alg("None"), claims, none),
		"alg nOnE":                    token(alg("nOnE"), claims, none),
		"alg none, signed":            token(alg("none"), claims, rs256(key)),
		"alg empty":                   token(alg(""), claims, rs256(key)),
		"alg missing":                 token(object{"typ": "JWT"}, claims, rs256(key)),
		"alg rs256":                   token(alg("rs256"), claims, rs256(key)),
		"alg number":                  token(object{"alg": 256}, claims, rs256(key)),
		"HS256 with the public key":   token(alg("HS256"), claims, hs256(publicKey)),
		"HS256 with its trimmed form": token(alg("HS256"), claims, hs256(strings.TrimSpace(publicKey))),
		"HS256 with nothing":          token(alg("HS256"), claims, hs256("")),
		"RS256 header, HS256 inside":  token(alg("RS256"), claims, hs256(publicKey)),
		"PS256":                       token(alg("PS256"), claims, ps256),
		"RS256 header, PS256 inside":  token(alg("RS256"), claims, ps256),
		"ES256":                       token(alg("ES256"), claims, es256),
		"empty signature":             token(alg("RS256"), claims, none),
		"foreign key":                 token(alg("RS256"), claims, rs256(pairs()[1])),
		"another token's signature":   fine[:cut] + otherSignature[strings.LastIndexByte(otherSignature, '.'):],
		"signature cut short":         fine[:len(fine)-4],
		"signature with padding":      fine + "=",
		"signature of zeroes":         fine[:cut+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 256)),
		"crit":                        token(object{"alg": "RS256", "crit": []string{"b64"}, "b64": false}, claims, rs256(key)),
		"jwk of the forger":           token(object{"alg": "RS256", "jwk": object{"kty": "RSA", "e": "AQAB", "n": segment(string(pairs()[1].N.Bytes()))}}, claims, rs256(pairs()[1])),
		"jku of the forger":           token(object{"alg": "RS256", "jku": "http://127.0.0.1:1/keys"}, claims, rs256(pairs()[1])),
		"x5u of the forger":           token(object{"alg": "RS256", "x5u": "http://127.0.0.1:1/cert"}, claims, rs256(pairs()[1])),
		"kid of a file":               token(object{"alg": "RS256", "kid": "../../dev/null"}, claims, rs256(pairs()[1])),
		"header is a list":            token("[]", claims, rs256(key)),
		"claims are a list":           good("[]"),
		"claims are null":             good("null"),
		"claims are not JSON":         good("{"),
		"two parts":                   fine[:cut],
		"four parts":                  fine + ".x",
		"a megabyte of dots":          strings.Repeat(".", 1<<20),
		"9 KB":                        good(b.claims(object{"jti": strings.Repeat("x", 9<<10)})),
		"words":                       "let me in",
		"blank in front":              " " + fine,
		"line break inside":           fine[:10] + "\n" + fine[10:],
		"line break in the signature": fine[:cut+9] + "\r\n" + fine[cut+9:],
		"line break behind":           fine + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := b.Verify(t.Context(), tok); !code.Has(err, code.InvalidToken) {
				t.Errorf("Verify = %+v, %v; want %s", c, err, code.InvalidToken)
			}
		})
	}
	if _, err := b.Verify(t.Context(), ""); !code.Has(err, code.MissingToken) {
		t.Errorf("no token: %v", err)
	}
	if _, err := b.Verify(t.Context(), fine); err != nil {
		t.Errorf("the genuine token is refused: %v", err)
	}
}

// Hints in the header neither help nor hurt when the signature is right.
func TestHeaderHintsAreIgnored(t *testing.T) {
	b := newBench(t)
	header := object{"alg": "RS256", "kid": "x", "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "jwk": object{}}
	if _, err := b.Verify(t.Context(), token(header, b.claims(nil), rs256(pairs()[0]))); err != nil {
		t.Error(err)
	}
}

func TestRememberedTokenObeysTimeKeyAndUser(t *testing.T) {
	user := object{"sub": "ann", "acl": object{"paths": object{"/**": object{}}}}
	for name, tc := range map[string]struct {
		change func(b *bench)
		want   code.Code // empty: still accepted
	}{
		"nothing changed":  {func(*bench) {}, ""},
		"expiry":           {func(b *bench) { b.now = b.now.Add(10 * time.Minute) }, code.ExpiredToken},
		"key replaced":     {func(b *bench) { b.rotate(t, "") }, code.InvalidToken},
		"key rotated":      {func(b *bench) { b.rotate(t, publicPEM(t, &pairs()[0].PublicKey)) }, ""},
		"application gone": {func(b *bench) { delete(b.directory.applications, application) }, code.InvalidToken},
		"user gone":        {func(b *bench) { clear(b.directory.users) }, code.InvalidToken}, // at once
		"user made afresh": {func(b *bench) {
			b.directory.users[application+"/ann"] = &eventv1.User{Id: "USR-2", Name: "ann"}
		}, ""},
		"name passed on": {func(b *bench) {
			b.directory.users[application+"/anna"] = &eventv1.User{Id: "USR-1", Name: "anna"}
			b.directory.users[application+"/ann"] = &eventv1.User{Id: "USR-2", Name: "ann"}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			tok := good(b.claims(user))
			for range 3 {
				if _, err := b.Verify(t.Context(), tok); err != nil {
					t.Fatal(err)
				}
			}
			if n := testutil.ToFloat64(b.metrics.verified.WithLabelValues("signature")); n != 1 {
				t.Errorf("signature checked %v times, want 1", n)
			}
			tc.change(b)
			c, err := b.Verify(t.Context(), tok)
			if tc.want != "" && !code.Has(err, tc.want) || tc.want == "" && err != nil {
				t.Errorf("Verify = %+v, %v; want %q", c, err, tc.want)
			}
			if (name == "user made afresh" || name == "name passed on") && c.UserID != "USR-2" {
				t.Errorf("user = %s, want the new one", c.UserID)
			}
		})
	}
}

// TestLoginReadsTheUserOnce: the user comes with the claims, read by name for a new token, and then by
// the id that is known, which is one question to the cluster and not two.
func TestLoginReadsTheUserOnce(t *testing.T) {
	b := newBench(t)
	tok := good(b.claims(object{"sub": "ann", "acl": object{"paths": object{"/**": object{}}}}))
	for range 2 {
		c, u, err := b.Login(t.Context(), tok)
		if err != nil || c.UserID != "USR-1" || u.GetName() != "ann" {
			t.Fatal(c, u, err)
		}
	}
	if want := []api.UserRef{{Name: "ann"}, {ID: "USR-1"}}; !slices.Equal(b.directory.asked, want) {
		t.Errorf("asked for %v, want %v", b.directory.asked, want)
	}
	if c, u, err := b.Login(t.Context(), good(b.claims(nil))); err != nil || !c.Admin() || u != nil {
		t.Errorf("an administrator: %v, %v, %v", c, u, err)
	}
}

func (b *bench) rotate(t *testing.T, previous string) {
	b.directory.applications[application] = &eventv1.Application{
		Id: application, PublicKey: publicPEM(t, &pairs()[1].PublicKey), PreviousPublicKey: previous,
	}
}

// FuzzVerify: whatever the application signs is accepted or refused with a code, and nothing that is made
// of it without the key is accepted. Each process has keys of its own, so the tokens are made where they are tried.
func FuzzVerify(f *testing.F) {
	b := newBench(f)
	header := `{"typ":"JWT","alg":"RS256"}`
	claims := func(change object) string {
		raw, err := json.Marshal(b.claims(change))
		if err != nil {
			f.Fatal(err)
		}
		return string(raw)
	}
	f.Add(header, claims(nil), uint16(0), uint16(0), "")
	f.Add(header, claims(nil), uint16(300), uint16(0), "\n")
	f.Add(header, claims(nil), uint16(9), uint16(1<<10), "..")
	f.Add(`{"alg":"none"}`, claims(nil), uint16(0), uint16(0), " ")
	f.Add(header, claims(object{"sub": "ann", "exp": "5", "acl": object{"paths": object{"/**": object{}}}}), uint16(1), uint16(2), "e")
	f.Fuzz(func(t *testing.T, header, claims string, at, cut uint16, put string) {
		signed := token(header, claims, rs256(pairs()[0]))
		from := min(int(at), len(signed))
		forged := signed[:from] + put + signed[min(from+int(cut), len(signed)):]
		for _, tok := range []string{signed, forged} {
			c, err := b.Verify(t.Context(), tok)
			if _, ok := code.Of(err); err != nil && !ok {
				t.Errorf("%q: refusal without a code: %v", tok, err)
			}
			if err == nil && (tok != signed || c.ApplicationID != application) {
				t.Errorf("%q, made of %q, is accepted: %+v", tok, signed, c)
			}
		}
	})
}
