// Package name is the pure heart of a unique name within an application: who holds it. A name is
// reserved before its owner is created or renamed, confirmed by the owner's outbox afterwards, and
// released by the owner, or by a caller that proved that the owner will not bear it.
//
// # Why no two owners ever bear one name
//
// A reservation carries a token: 0 for a creation, the owner's fence plus one for a rename, where
// the fence is read before the name is reserved. The owner takes a new name only under a token above
// its fence, and the fence rises to that token with it; so a token serves once. It also rises when
// somebody who met the reservation asks the owner, and the owner does not bear the name (Probe). A
// release names an owner and a token, and is made only when the owner's row says: not this name,
// and fence at this token or above. Then the owner can take the name only under a later token,
// which stands in a reservation that the release does not touch. Releases and confirmations may
// therefore come late, twice and in any order.
//
// # Devices
//
// Whose a device is, is kept in the same way, by its token: who registers it takes it from the user that had it
// (package api). The reservation's own token is the time of the registration, so that the release of an older one
// does not touch it; nothing confirms it.
package name

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"parley/actors/conversation/document"
	"parley/actors/conversation/row"
	"parley/actors/grain"
	"parley/internal/invariant"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// CharactersMax bounds a name.
const CharactersMax = 100

// The kinds of owner, as they stand before the name in an entity's id.
const (
	OfUser         = "user"
	OfConversation = "conversation"
	// OfDevice is the user that has a device. What names a device everywhere is its token.
	OfDevice = "device"
)

// EntityID is the id of the grain that keeps a name of one kind of owner.
func EntityID(kind, name string) string { return kind + "/" + name }

// DeviceID is the id of the grain that keeps whose device has a token. The token itself is not kept there, which
// may be long and is a secret of the device's.
func DeviceID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return EntityID(OfDevice, hex.EncodeToString(sum[:]))
}

// Split is the inverse of EntityID.
func Split(entity string) (kind, name string, ok bool) {
	kind, name, ok = strings.Cut(entity, "/")
	return kind, name, ok && name != "" && (kind == OfUser || kind == OfConversation || kind == OfDevice)
}

// machine implements grain.Machine for one name.
type machine struct {
	entity grain.Entity
	key    []byte // of the row; nil when no such name can be
	owner  id.Prefix
	loaded bool
	held   *eventv1.Name // nil = free
}

// New makes the machine of the name e. It is called by grain shells.
func New(e grain.Entity) grain.Machine {
	m := &machine{entity: e, owner: id.User}
	app, err := id.Parse(id.Application, e.Application)
	kind, name, ok := Split(e.ID)
	if err != nil || !ok || document.CheckText(name, CharactersMax) != nil {
		return m
	}
	if kind == OfConversation {
		m.owner = id.Conversation
	}
	m.key = keys.Name(e.Shard, app, kind, name)
	return m
}

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, _ []byte, _ *nodev1.Command) error {
	if m.loaded || m.key == nil {
		return nil
	}
	held, err := row.Find[eventv1.Name](r, m.key)
	m.held, m.loaded = held, err == nil
	return err
}

// Decide implements grain.Machine.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if m.key == nil || cmd.GetPrincipal().GetApplicationId() != m.entity.Application {
		return grain.Decision{}, code.Invalid("name", "is not a name that can be held here")
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_ReserveName:
		return m.reserve(now, b.ReserveName)
	case *nodev1.Command_ConfirmName:
		return m.confirm(b.ConfirmName), nil
	case *nodev1.Command_ReleaseName:
		return m.release(b.ReleaseName), nil
	default:
		return grain.Decision{}, code.New(code.InvalidEvent, "a name does not know this command")
	}
}

// taken is what Evolve folds in: the name after the decision, nil when free.
type taken struct{ held *eventv1.Name }

func (m *machine) keep() grain.Decision {
	return grain.Decision{Changes: taken{m.held}, Reply: &nodev1.Reply{Name: m.held}}
}

func (m *machine) put(n *eventv1.Name) grain.Decision {
	return grain.Decision{Changes: taken{n}, Ops: []store.Op{row.Put(m.key, n)}, Reply: &nodev1.Reply{Name: n}}
}

// reserve gives a free name to an owner. The same owner may ask again, and a later token replaces
// an older one; another one learns who holds the name.
func (m *machine) reserve(now int64, r *nodev1.ReserveName) (grain.Decision, error) {
	if _, err := id.Parse(m.owner, r.OwnerId); err != nil {
		return grain.Decision{}, code.Invalid("owner_id", "must be an identifier with "+string(m.owner))
	}
	if m.held == nil || m.held.OwnerId == r.OwnerId && m.held.Token < r.Token {
		return m.put(&eventv1.Name{OwnerId: r.OwnerId, Token: r.Token, ReservedMs: now}), nil
	}
	d := m.keep()
	d.Reply.Exists = m.held.OwnerId != r.OwnerId
	return d, nil
}

// confirm says that the owner bears the name under this token. One that comes late, after the name
// was released or reserved anew, changes nothing.
func (m *machine) confirm(c *nodev1.ConfirmName) grain.Decision {
	if m.held == nil || m.held.OwnerId != c.OwnerId || m.held.Confirmed || m.held.Token > c.Token {
		return m.keep()
	}
	return m.put(&eventv1.Name{OwnerId: c.OwnerId, Token: m.held.Token, Confirmed: true, ReservedMs: m.held.ReservedMs})
}

// release frees the name if the owner still holds it under this token or an older one.
func (m *machine) release(r *nodev1.ReleaseName) grain.Decision {
	if m.held == nil || m.held.OwnerId != r.OwnerId || m.held.Token > r.Token {
		return m.keep()
	}
	return grain.Decision{Changes: taken{}, Ops: []store.Op{store.Delete(m.key)}, Reply: &nodev1.Reply{}}
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	t, ok := d.Changes.(taken)
	invariant.That(ok, "name: foreign changes %T", d.Changes)
	m.held = t.held
}

// Head implements grain.Machine. A name has no hot part.
func (m *machine) Head() []byte { return nil }

// Settle implements grain.Machine.
func (m *machine) Settle() {}
