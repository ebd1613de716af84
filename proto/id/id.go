// Package id makes and checks the identifiers of the Conversation API: a prefix and a
// lower-case UUID, for example CON-0de7a7b5-…. Applications are bare UUIDs.
package id

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Prefix tells what an identifier names.
type Prefix string

// The prefixes of the Conversation API.
const (
	Application  Prefix = ""
	Conversation Prefix = "CON-"
	User         Prefix = "USR-"
	Member       Prefix = "MEM-"
	Session      Prefix = "SES-"
	Name         Prefix = "NAM-" // a generated conversation or user name
	Image        Prefix = ""     // as the applications, a bare UUID
)

// ErrMalformed says that a string is not an identifier of the wanted kind.
var ErrMalformed = errors.New("malformed identifier")

// namespace is the UUID namespace of derived identifiers (RFC 9562 section 5.5). It never changes.
var namespace = uuid.MustParse("7f1b34c6-3f04-5f0e-9c57-5d7c1f5f7a11")

// New makes a random identifier (UUID version 4).
func New(p Prefix) string { return string(p) + uuid.NewString() }

// NewAt makes a random identifier that says when it was made, to the millisecond (UUID version 7,
// RFC 9562 section 5.7).
func NewAt(p Prefix, at time.Time) string { return Format(p, newAt(at)) }

func newAt(at time.Time) uuid.UUID {
	u := uuid.New()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u[:6], ms[2:])
	u[6] = 0x70 | u[6]&0x0f
	return u
}

// What stands after the version of an identifier that has a mark, and before the mark.
const (
	version7Marked = 0x7a
	markedToo      = 0x50
)

// NewMarkedAt makes an identifier as NewAt does, that also carries a mark from 1 to 15, for whoever
// meets it later and knows nothing else (RFC 9562 leaves these bits to the maker).
func NewMarkedAt(p Prefix, at time.Time, mark byte) string {
	u := newAt(at)
	u[6], u[7] = version7Marked, markedToo|mark&0x0f
	return Format(p, u)
}

// MarkOf reads the mark of an identifier of NewMarkedAt; 0 = it has none. One identifier of NewAt in
// 256 looks as if it had one, and who brings an identifier may have made it up: a hint, no more.
func MarkOf(p Prefix, s string) byte {
	b, err := Parse(p, s)
	if err != nil || b[6] != version7Marked || b[7]&0xf0 != markedToo {
		return 0
	}
	return b[7] & 0x0f
}

// MadeAt reads when an identifier of NewAt was made; false for any other. It is only what the
// identifier says: who brings it may have made it up.
func MadeAt(p Prefix, s string) (time.Time, bool) {
	b, err := Parse(p, s)
	if err != nil || b[6]>>4 != 7 {
		return time.Time{}, false
	}
	var ms [8]byte
	copy(ms[2:], b[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))), true
}

// Derive makes the identifier that belongs to one idempotency key of one creator, so that a
// retried creation meets the same shard and the same row. creator is empty for administrators.
func Derive(p Prefix, application, creator, key string) string {
	seed := string(p) + "\x00" + application + "\x00" + creator + "\x00" + key
	return string(p) + uuid.NewSHA1(namespace, []byte(seed)).String()
}

// Parse gives the 16 bytes behind an identifier in its canonical lower-case form.
func Parse(p Prefix, s string) ([16]byte, error) {
	rest, ok := strings.CutPrefix(s, string(p))
	if !ok || len(rest) != 36 {
		return [16]byte{}, ErrMalformed
	}
	u, err := uuid.Parse(rest)
	if err != nil || u.String() != rest {
		return [16]byte{}, ErrMalformed
	}
	return u, nil
}

// Format is the inverse of Parse.
func Format(p Prefix, b [16]byte) string { return string(p) + uuid.UUID(b).String() }
