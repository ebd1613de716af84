// Package image is the pure heart of an image: the record of three pictures of one upload, who
// owns it, and which blobs they are in.
//
// An image is created when its blobs are held and sealed, and is never changed. Its owner and
// administrators may delete it: a tombstone stays, and the blobs are released by outbox. Whoever
// finds a hold of an image that is not there yet asks by a probe, which is answered "exists" or
// durably "never".
package image

import (
	"google.golang.org/protobuf/proto"

	"parley/actors/blob"
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

const (
	idempotencyKeyMax = 128
	mediaTypeMax      = 64
)

// machine implements grain.Machine for one image.
type machine struct {
	entity     grain.Entity
	app        keys.UUID
	id         keys.UUID
	wellFormed bool // the id; else no image can stand behind it
	loaded     bool
	image      *eventv1.Image // nil = never heard of
}

// New makes the machine of the image e. It is called by grain shells, once per activation and again
// after a batch that was not committed.
func New(e grain.Entity) grain.Machine {
	app, errApp := id.Parse(id.Application, e.Application)
	image, errImage := id.Parse(id.Image, e.ID)
	return &machine{entity: e, app: app, id: image, wellFormed: errApp == nil && errImage == nil}
}

// Pictures are an image's representations, the original first.
func Pictures(i *eventv1.Image) []*eventv1.Picture {
	return []*eventv1.Picture{i.GetOriginal(), i.GetMedium(), i.GetThumbnail()}
}

// Alive says that there is such an image: created, and not deleted.
func Alive(i *eventv1.Image) bool { return i != nil && !i.Never && i.DeletedMs == 0 }

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, _ []byte, _ *nodev1.Command) error {
	if !m.wellFormed || m.loaded {
		return nil
	}
	i, err := row.Find[eventv1.Image](r, keys.Image(m.entity.Shard, m.app, m.id))
	m.image, m.loaded = i, err == nil
	return err
}

// Decide implements grain.Machine. What changes is always the whole record.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if !m.wellFormed || cmd.GetPrincipal().GetApplicationId() != m.entity.Application {
		return grain.Decision{}, NotFound()
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_CreateImage:
		return m.create(now, cmd.Principal, b.CreateImage.GetImage())
	case *nodev1.Command_DeleteImage:
		return m.remove(now, cmd.Principal)
	case *nodev1.Command_Probe:
		return m.probe(now, cmd.Principal)
	default:
		return grain.Decision{}, code.New(code.InvalidEvent, "an image does not know this command")
	}
}

// stored is the decision that replaces the record.
func (m *machine) stored(i *eventv1.Image, reply *nodev1.Reply) grain.Decision {
	return grain.Decision{
		Changes: i, Reply: reply,
		Ops: []store.Op{row.Put(keys.Image(m.entity.Shard, m.app, m.id), i)},
	}
}

// create makes the image, or gives the one that the same request made before.
func (m *machine) create(now int64, p *nodev1.Principal, wanted *eventv1.Image) (grain.Decision, error) {
	if m.image != nil {
		return m.created(p, wanted)
	}
	if err := check(wanted); err != nil {
		return grain.Decision{}, err
	}
	i := proto.CloneOf(wanted)
	i.ApplicationId, i.Id, i.OwnerUser = m.entity.Application, m.entity.ID, p.GetUserId()
	i.CreatedMs, i.DeletedMs, i.Never = now, 0, false
	return m.stored(i, &nodev1.Reply{Image: i}), nil
}

// created answers a creation that meets something under its id. Ids are random or derived from
// owner and key, so that only a repetition can meet a living image.
func (m *machine) created(p *nodev1.Principal, wanted *eventv1.Image) (grain.Decision, error) {
	switch i := m.image; {
	case i.Never:
		return grain.Decision{}, code.New(code.IdempotencyConflict, "this upload took too long and was given up; repeat it with a new key")
	case i.DeletedMs != 0:
		return grain.Decision{}, code.New(code.IdempotencyConflict, "the image that this key made has been deleted; use a new key for a new one")
	case i.IdempotencyKey != wanted.GetIdempotencyKey() || i.OwnerUser != p.GetUserId():
		return grain.Decision{}, code.New(code.IdempotencyConflict, "another request has made this image")
	default:
		return grain.Decision{Reply: &nodev1.Reply{Image: i, Duplicate: true}}, nil
	}
}

// remove leaves a tombstone and releases the blobs. Repeating it changes nothing.
func (m *machine) remove(now int64, p *nodev1.Principal) (grain.Decision, error) {
	i := m.image
	if i == nil || i.Never {
		return grain.Decision{}, NotFound()
	}
	mine := p.GetAdmin() || i.OwnerUser != "" && i.OwnerUser == p.GetUserId()
	switch {
	case i.DeletedMs != 0 && mine:
		return grain.Decision{Reply: &nodev1.Reply{}}, nil
	case i.DeletedMs != 0:
		return grain.Decision{}, NotFound()
	case !mine:
		return grain.Decision{}, code.New(code.Permission, "only who uploaded an image, or an administrator, may delete it")
	}
	tombstone := &eventv1.Image{
		ApplicationId: i.ApplicationId, Id: i.Id, OwnerUser: i.OwnerUser, CreatedMs: i.CreatedMs,
		DeletedMs: max(now, i.CreatedMs), IdempotencyKey: i.IdempotencyKey,
	}
	d := m.stored(tombstone, &nodev1.Reply{})
	released := map[string]bool{} // pictures may be the same bytes
	for _, picture := range Pictures(i) {
		if !released[picture.Sha256] {
			d.Outbox = append(d.Outbox, m.release(picture.Sha256))
		}
		released[picture.Sha256] = true
	}
	return d, nil
}

func (m *machine) release(sum string) *nodev1.OutboxRow {
	return &nodev1.OutboxRow{
		TargetKind: nodev1.Kind_KIND_BLOB, ApplicationId: m.entity.Application, TargetId: sum,
		Command: &nodev1.Command{
			Principal: &nodev1.Principal{ApplicationId: m.entity.Application, Admin: true},
			Body:      &nodev1.Command_ReleaseHold{ReleaseHold: &nodev1.ReleaseHold{Holder: m.entity.ID}},
		},
	}
}

// probe answers whether the image exists. One that was never heard of never will.
func (m *machine) probe(now int64, p *nodev1.Principal) (grain.Decision, error) {
	if !p.GetAdmin() {
		return grain.Decision{}, code.New(code.Permission, "only the nodes themselves may probe")
	}
	if m.image == nil {
		never := &eventv1.Image{ApplicationId: m.entity.Application, Id: m.entity.ID, Never: true, DeletedMs: now}
		return m.stored(never, &nodev1.Reply{Image: never}), nil
	}
	return grain.Decision{Reply: &nodev1.Reply{Image: m.image, Exists: Alive(m.image)}}, nil
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	if d.Changes == nil {
		return
	}
	i, ok := d.Changes.(*eventv1.Image)
	invariant.That(ok, "image %s: foreign changes %T", m.entity.ID, d.Changes)
	m.image = i
}

// Head implements grain.Machine. An image has no hot part.
func (m *machine) Head() []byte { return nil }

// Settle implements grain.Machine.
func (m *machine) Settle() {}

// NotFound is the refusal of what no image stands behind.
func NotFound() error { return code.New(code.NotFound, "image does not exist") }

// check checks what the edge made.
func check(i *eventv1.Image) error {
	if err := document.CheckText(i.GetIdempotencyKey(), idempotencyKeyMax); err != nil {
		return code.Invalid("idempotency_key", err.Error())
	}
	for _, p := range Pictures(i) {
		if _, err := blob.ParseSum(p.GetSha256()); err != nil {
			return code.Invalid("image", "needs three pictures with the sums of their bytes")
		}
		if p.Size == 0 || p.Size > blob.BytesMax || p.Width == 0 || p.Height == 0 || p.MediaType == "" || len(p.MediaType) > mediaTypeMax {
			return code.Invalid("image", "has a picture without size, bounds or type")
		}
	}
	return nil
}
