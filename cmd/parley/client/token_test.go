package client

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	enc "encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(enc.EncodeToMemory(&enc.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func read(t *testing.T, token string, key *rsa.PrivateKey) jwt.MapClaims {
	t.Helper()
	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["typ"] != "JWT" {
		t.Errorf("header %v", parsed.Header)
	}
	return parsed.Claims.(jwt.MapClaims)
}

func TestAdminToken(t *testing.T) {
	key, text := newKey(t)
	token, err := Application{ID: "a-1", PrivateKey: text}.AdminToken(now)
	if err != nil {
		t.Fatal(err)
	}
	claims := read(t, token, key)
	if claims["application_id"] != "a-1" || claims["sub"] != nil || claims["acl"] != nil || claims["jti"] == nil {
		t.Errorf("claims %v", claims)
	}
	if claims["exp"].(float64)-claims["iat"].(float64) != 900 {
		t.Errorf("life: %v to %v", claims["iat"], claims["exp"])
	}
}

func TestUserToken(t *testing.T) {
	key, _ := newKey(t)
	token, err := Sign(key, now, UserClaims("a-1", "ann", now, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	claims := read(t, token, key)
	paths := claims["acl"].(map[string]any)["paths"].(map[string]any)
	if claims["sub"] != "ann" || paths["/*/conversations/**"] == nil || paths["/*/sessions/**"] == nil || paths["/**"] != nil {
		t.Errorf("claims %v", claims)
	}
}

func TestClaimsOverrideWhatIsAdded(t *testing.T) {
	key, _ := newKey(t)
	token, err := Sign(key, now, map[string]any{"iat": now.Add(-time.Minute).Unix(), "jti": "one"})
	if err != nil {
		t.Fatal(err)
	}
	if claims := read(t, token, key); claims["jti"] != "one" || int64(claims["iat"].(float64)) != now.Unix()-60 {
		t.Errorf("claims %v", claims)
	}
}

func TestParseClaim(t *testing.T) {
	for _, c := range []struct{ name, text, bad string }{
		{"sub", "ann", ""},
		{"application_id", "12", ""},
		{"exp", "1893456000", ""},
		{"exp", "soon", "JSON"},
		{"exp", `"1893456000"`, "seconds"},
		{"exp", "1.5", "seconds"},
		{"acl", `{"paths":{"/**":{}}}`, ""},
		{"acl", `{paths}`, "JSON"},
		{"acl", `{"/**":{}}`, "paths"},
		{"acl", `[]`, "paths"},
	} {
		v, err := ParseClaim(c.name, c.text)
		if (err == nil) != (c.bad == "") || (err != nil && !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("ParseClaim(%s, %s) = %v, %v", c.name, c.text, v, err)
		}
	}
	if v, _ := ParseClaim("exp", "1893456000"); v != int64(1893456000) {
		t.Errorf("exp is a %T", v)
	}
	if v, _ := ParseClaim("application_id", "12"); v != "12" {
		t.Errorf("application_id is a %T", v)
	}
}

func TestParseKeyNamesTheForm(t *testing.T) {
	if _, err := ParseKey("nonsense"); err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("got %v", err)
	}
}
