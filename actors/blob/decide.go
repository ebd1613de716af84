package blob

import (
	"google.golang.org/protobuf/proto"

	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// draft collects what one command leads to. It reads the machine's view and never changes it.
type draft struct {
	*machine
	now     int64
	changes []change
}

// decide is the table of contents of what a blob can be asked. All of it comes from the nodes
// themselves, on behalf of images; a repetition changes nothing.
func (d *draft) decide(cmd *nodev1.Command) (*nodev1.Reply, error) {
	if !cmd.GetPrincipal().GetAdmin() {
		return nil, code.New(code.Permission, "blobs are changed through images only")
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_HoldBlob:
		return d.take(b.HoldBlob)
	case *nodev1.Command_PutChunk:
		return d.put(b.PutChunk)
	case *nodev1.Command_SealBlob:
		return d.seal()
	case *nodev1.Command_ConfirmHold:
		return d.confirm(b.ConfirmHold.GetHolder())
	case *nodev1.Command_ReleaseHold:
		return d.release(b.ReleaseHold.GetHolder())
	case *nodev1.Command_PurgeObject:
		d.change(objectDone{b.PurgeObject.GetGeneration(), b.PurgeObject.GetDueMs()})
		return &nodev1.Reply{}, nil
	default:
		return nil, code.New(code.InvalidEvent, "a blob does not know this command")
	}
}

func (d *draft) change(c ...change) { d.changes = append(d.changes, c...) }

// edited gives a copy of the blob to be changed.
func (d *draft) edited() *eventv1.Blob { return proto.CloneOf(d.blob) }

// take notes a hold, and makes the blob when there is none. A hold that is taken again gets the
// full time again.
func (d *draft) take(h *nodev1.HoldBlob) (*nodev1.Reply, error) {
	if _, err := id.Parse(id.Image, h.GetHolder()); err != nil {
		return nil, code.Invalid("holder", "must be the id of an image")
	}
	if h.GetSize() == 0 || h.GetSize() > BytesMax {
		return nil, code.New(code.TooLarge, "a blob has 1 to %d bytes", BytesMax)
	}
	if d.blob != nil && d.blob.Size != h.Size {
		return nil, code.Invalid("size", "does not belong to this blob")
	}
	b := d.edited()
	if b == nil {
		b = &eventv1.Blob{
			Sha256: d.entity.ID, Size: h.Size, External: h.External, Generation: d.generation + 1, CreatedMs: d.now,
		}
	}
	known := d.holds[h.Holder]
	if known == nil {
		b.Holds++
	}
	if !proto.Equal(b, d.blob) {
		d.change(blobChanged{b})
	}
	if known == nil || known.DueMs != 0 {
		d.change(holdChanged{h.Holder, &eventv1.Hold{DueMs: d.now + HoldMs}})
	}
	return &nodev1.Reply{Blob: b}, nil
}

// put stores one chunk. What is there already is not stored again.
func (d *draft) put(c *nodev1.PutChunk) (*nodev1.Reply, error) {
	switch {
	case d.blob == nil:
		return nil, noBlob()
	case d.blob.Sealed:
		return &nodev1.Reply{}, nil
	case d.blob.External:
		return nil, code.New(code.InvalidEvent, "the bytes of this blob belong into the object store")
	}
	want := ChunkSize(d.blob.Size, c.GetIndex())
	if want == 0 || len(c.GetBytes()) != want {
		return nil, code.Invalid("chunk", "does not have its place and length in this blob")
	}
	b := d.edited()
	if !mark(b, c.Index) {
		return &nodev1.Reply{}, nil
	}
	d.change(chunkStored{c.Index, c.Bytes}, blobChanged{b})
	return &nodev1.Reply{}, nil
}

// mark notes that a chunk is there, and says whether that is news.
func mark(b *eventv1.Blob, index uint32) bool {
	if b.Present == nil {
		b.Present = make([]byte, (Chunks(b.Size)+7)/8)
	}
	at, bit := &b.Present[index/8], byte(1)<<(index%8)
	news := *at&bit == 0
	*at |= bit
	return news
}

// complete says whether every chunk is there.
func complete(b *eventv1.Blob) bool {
	for i := range Chunks(b.Size) {
		if int(i/8) >= len(b.Present) || b.Present[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
}

// seal ends the storing. Only sealed blobs are shown.
func (d *draft) seal() (*nodev1.Reply, error) {
	switch {
	case d.blob == nil:
		return nil, noBlob()
	case d.blob.Sealed:
		return &nodev1.Reply{Blob: d.blob}, nil
	case !d.blob.External && !complete(d.blob):
		return nil, code.New(code.InvalidEvent, "bytes of this blob are missing")
	}
	b := d.edited()
	b.Sealed, b.Present = true, nil
	d.change(blobChanged{b})
	return &nodev1.Reply{Blob: b}, nil
}

func (d *draft) confirm(holder string) (*nodev1.Reply, error) {
	if d.holds[holder].GetDueMs() != 0 {
		d.change(holdChanged{holder, &eventv1.Hold{}})
	}
	return &nodev1.Reply{}, nil
}

// release drops a hold, and with the last one the blob. It comes at least once.
func (d *draft) release(holder string) (*nodev1.Reply, error) {
	if d.holds[holder] == nil || d.blob == nil {
		return &nodev1.Reply{}, nil
	}
	d.change(holdDropped{holder})
	b := d.edited()
	if b.Holds--; b.Holds > 0 {
		d.change(blobChanged{b})
		return &nodev1.Reply{}, nil
	}
	d.change(blobDropped{})
	if b.External {
		d.change(objectDue{b.Generation, d.now})
	}
	return &nodev1.Reply{}, nil
}
