// Package application is the pure heart of what stands in the meta shard: applications, which are
// the tenants, and the operator's own rows: API keys and the cluster's settings.
//
// Each application is an entity of its own. The operator's rows belong to one entity, of the same
// kind, whose id is OperatorID.
package application

import (
	"fmt"

	"google.golang.org/protobuf/proto"

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

// OperatorID is the id of the entity that keeps API keys and settings: the nil UUID, which no
// application has.
const OperatorID = "00000000-0000-0000-0000-000000000000"

// Limits of an application.
const (
	NameCharactersMax = 255
	ObjectBytesMax    = 16 << 10 // capabilities, privacy
	publicKeyBytesMax = 8 << 10  // PEM
	APIKeyBytesMax    = 128
)

// machine implements grain.Machine for one application, or for the operator's rows.
type machine struct {
	entity     grain.Entity
	id         keys.UUID
	wellFormed bool // the id
	loaded     bool

	app         *eventv1.Application           // nil = never heard of
	settings    *eventv1.ClusterSettings       // nil = none
	first       *eventv1.Credential            // any one, nil = none
	credentials map[string]*eventv1.Credential // by key; nil = absent
}

// New makes the machine of the application e, or of the operator's rows when e.ID is OperatorID.
// It is called by grain shells.
func New(e grain.Entity) grain.Machine {
	u, err := id.Parse(id.Application, e.ID)
	return &machine{entity: e, id: u, wellFormed: err == nil, credentials: map[string]*eventv1.Credential{}}
}

func (m *machine) operator() bool { return m.entity.ID == OperatorID }

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, _ []byte, cmd *nodev1.Command) error {
	if !m.wellFormed {
		return nil
	}
	if !m.loaded {
		if err := m.loadOnce(r); err != nil {
			return err
		}
		m.loaded = true
	}
	key := cmd.GetPutCredential().GetCredential().GetKey()
	if key == "" {
		return nil
	}
	return row.Learn(m.credentials, key, r, keys.Credential(key))
}

func (m *machine) loadOnce(r store.Reader) (err error) {
	if !m.operator() {
		m.app, err = row.Find[eventv1.Application](r, keys.Application(m.id))
		return err
	}
	if m.settings, err = row.Find[eventv1.ClusterSettings](r, keys.Settings()); err != nil {
		return err
	}
	m.first, err = FirstCredential(r)
	return err
}

// FirstCredential reads the first API key in byte order; nil when there is none.
func FirstCredential(r store.Reader) (first *eventv1.Credential, err error) {
	prefix := keys.Credentials()
	err = row.Scan(r, prefix, keys.End(prefix), func(c *eventv1.Credential) bool {
		first = c
		return false
	})
	return first, err
}

// Decide implements grain.Machine.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if !m.wellFormed {
		return grain.Decision{}, notFound()
	}
	if m.operator() {
		return m.decideOperator(now, cmd)
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_PutApplication:
		return m.put(now, b.PutApplication)
	case *nodev1.Command_DeleteApplication:
		return m.remove(now)
	case *nodev1.Command_PutPushCredential:
		return m.putPush(now, b.PutPushCredential.GetCredential())
	case *nodev1.Command_DeletePushCredential:
		return m.removePush(b.DeletePushCredential.GetPlatform())
	case *nodev1.Command_NotePush:
		return m.notePush(now, b.NotePush)
	default:
		return grain.Decision{}, code.New(code.InvalidEvent, "an application does not know this command")
	}
}

// changed is what Evolve folds in; nil fields stay as they are.
type changed struct {
	app        *eventv1.Application
	settings   *eventv1.ClusterSettings
	credential *eventv1.Credential
}

func (m *machine) alive() bool { return m.app != nil && m.app.DeletedMs == 0 }

// put creates the application or replaces it. Creating what is there gives what is there: the id
// is the caller's, so it can only be a repetition. A replacement was made from the application as its maker saw it:
// when it names by UpdatedMs another one than is there, it would undo what that maker has not seen.
func (m *machine) put(now int64, p *nodev1.PutApplication) (grain.Decision, error) {
	a := proto.CloneOf(p.GetApplication())
	if err := check(a); err != nil {
		return grain.Decision{}, err
	}
	switch {
	case !p.Create && !m.alive(), p.Create && m.app != nil && !m.alive():
		return grain.Decision{}, notFound()
	case p.Create && m.alive():
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Application: m.app, Duplicate: true}}, nil
	case !p.Create && a.UpdatedMs != 0 && a.UpdatedMs != m.app.UpdatedMs:
		return grain.Decision{}, code.New(code.IdempotencyConflict, "the application has changed since it was read")
	}
	a.Id, a.CreatedMs, a.UpdatedMs, a.DeletedMs = m.entity.ID, now, now, 0
	if m.app != nil {
		a.CreatedMs, a.UpdatedMs = m.app.CreatedMs, max(now, m.app.UpdatedMs+1)
	}
	a.PushCredentials = m.app.GetPushCredentials() // they have commands of their own
	return m.write(a), nil
}

// remove leaves a tombstone without keys: tokens of the application are refused from now on.
func (m *machine) remove(now int64) (grain.Decision, error) {
	if !m.alive() {
		return grain.Decision{}, notFound()
	}
	return m.write(&eventv1.Application{
		Id: m.app.Id, Name: m.app.Name, CreatedMs: m.app.CreatedMs, DeletedMs: max(now, m.app.CreatedMs),
	}), nil
}

func (m *machine) write(a *eventv1.Application) grain.Decision {
	return grain.Decision{
		Changes: changed{app: a}, Ops: []store.Op{row.Put(keys.Application(m.id), a)},
		Reply: &nodev1.Reply{Application: a},
	}
}

func (m *machine) decideOperator(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	switch b := cmd.Body.(type) {
	case *nodev1.Command_PutCredential:
		return m.putCredential(now, b.PutCredential)
	case *nodev1.Command_PutSettings:
		return m.putSettings(now, b.PutSettings.GetSettings())
	default:
		return grain.Decision{}, code.New(code.InvalidEvent, "the operator's rows do not know this command")
	}
}

// putCredential stores an API key, or gives the one that is there when only the first is wanted.
func (m *machine) putCredential(now int64, p *nodev1.PutCredential) (grain.Decision, error) {
	wanted := p.GetCredential()
	if len(wanted.GetKey()) == 0 || len(wanted.GetKey()) > APIKeyBytesMax || len(wanted.GetHash()) == 0 {
		return grain.Decision{}, code.Invalid("api_key", fmt.Sprintf("must have 1 to %d bytes and a hashed secret", APIKeyBytesMax))
	}
	if p.OnlyIfNone && m.first != nil {
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Credential: m.first, Exists: true}}, nil
	}
	c := &eventv1.Credential{Key: wanted.Key, Salt: wanted.Salt, Hash: wanted.Hash, Iterations: wanted.Iterations, CreatedMs: now}
	if old := m.credentials[c.Key]; old != nil {
		c.CreatedMs = old.CreatedMs
	}
	return grain.Decision{
		Changes: changed{credential: c}, Ops: []store.Op{row.Put(keys.Credential(c.Key), c)},
		Reply: &nodev1.Reply{Credential: c},
	}, nil
}

// putSettings stores the cluster's settings. They are fixed when the cluster is created, but for
// the version, which only rises; anything else gives what is there.
func (m *machine) putSettings(now int64, wanted *eventv1.ClusterSettings) (grain.Decision, error) {
	if wanted.GetClusterId() == "" || wanted.GetShards() == 0 {
		return grain.Decision{}, code.Invalid("settings", "must name the cluster and its shards")
	}
	next := &eventv1.ClusterSettings{ClusterId: wanted.ClusterId, Shards: wanted.Shards, Version: wanted.Version, CreatedMs: now}
	if old := m.settings; old != nil {
		next.ClusterId, next.Shards, next.CreatedMs = old.ClusterId, old.Shards, old.CreatedMs
		if wanted.Version <= old.Version {
			return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Settings: old, Exists: true}}, nil
		}
	}
	return grain.Decision{
		Changes: changed{settings: next}, Ops: []store.Op{row.Put(keys.Settings(), next)},
		Reply: &nodev1.Reply{Settings: next},
	}, nil
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	c, ok := d.Changes.(changed)
	invariant.That(ok, "application: foreign changes %T", d.Changes)
	if c.app != nil {
		m.app = c.app
	}
	if c.settings != nil {
		m.settings = c.settings
	}
	if c.credential == nil {
		return
	}
	m.credentials[c.credential.Key] = c.credential
	if m.first == nil || c.credential.Key <= m.first.Key {
		m.first = c.credential
	}
}

// Head implements grain.Machine. An application has no hot part.
func (m *machine) Head() []byte { return nil }

// Settle implements grain.Machine.
func (m *machine) Settle() { clear(m.credentials) }

func check(a *eventv1.Application) error {
	if a.GetName() == "" {
		return code.Invalid("name", "is not allowed to be empty")
	}
	if err := document.CheckText(a.Name, NameCharactersMax); err != nil {
		return code.Invalid("name", err.Error())
	}
	for _, key := range []string{a.PublicKey, a.PreviousPublicKey} {
		if err := document.CheckText(key, publicKeyBytesMax); err != nil {
			return code.Invalid("keys.public_key", err.Error())
		}
	}
	for _, f := range []struct {
		field string
		value []byte
	}{{"capabilities", a.Capabilities}, {"privacy", a.Privacy}} {
		if len(f.value) == 0 {
			continue
		}
		if err := document.Check(f.value, ObjectBytesMax); err != nil {
			return code.Invalid(f.field, err.Error())
		}
	}
	return nil
}

func notFound() error { return code.New(code.ApplicationNotFound, "application does not exist") }
