package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"parley/actors/blob"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// maxPictureBytes is the size of the largest picture.
const maxPictureBytes = blob.BytesMax

// attemptsMax and attemptPause bound the repetition of a step whose outcome is not known, or that
// the cluster had no room for: up to two seconds altogether.
const (
	attemptsMax  = 6
	attemptPause = 50 * time.Millisecond
)

// again repeats a step that may be repeated without harm.
func again(ctx context.Context, step func() error) error {
	pause := time.NewTimer(attemptPause)
	defer pause.Stop()
	for n := 1; ; n++ {
		err := step()
		if n == attemptsMax || !code.Has(err, code.Unknown) && !code.Has(err, code.Unavailable) {
			return err
		}
		pause.Reset(attemptPause << (n - 1))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// stage notes how long a part of an upload took.
func (h *Handler) stage(name string, started *time.Time) {
	now := h.options.Now()
	h.metrics.stages.WithLabelValues(name).Observe(now.Sub(*started).Seconds())
	*started = now
}

// store makes the bytes of f a blob that the image holds. What the application has stored already
// is not stored again.
func (h *Handler) store(ctx context.Context, who *nodev1.Principal, holder string, f *spool) (b *eventv1.Blob, err error) {
	name := f.name()
	err = again(ctx, func() (err error) {
		b, err = h.Cluster.HoldBlob(ctx, who, name, &nodev1.HoldBlob{Holder: holder, Size: uint64(f.size), External: h.Objects != nil})
		return err
	})
	if err != nil || b.Sealed {
		return b, err
	}
	if b.External {
		err = h.putObject(ctx, who, b, f)
	} else {
		err = h.putChunks(ctx, who, name, f)
	}
	if err != nil {
		return nil, err
	}
	return b, again(ctx, func() error { return h.Cluster.SealBlob(ctx, who, name) })
}

// putChunks stores one chunk after the other: an upload never has more than one on its way, so
// that it does not hold up others who write to the shard.
func (h *Handler) putChunks(ctx context.Context, who *nodev1.Principal, name string, f *spool) error {
	r := f.reader()
	for index := range blob.Chunks(uint64(f.size)) {
		chunk := make([]byte, blob.ChunkSize(uint64(f.size), index))
		if _, err := io.ReadFull(r, chunk); err != nil {
			return fmt.Errorf("read a spool file: %w", err)
		}
		put := &nodev1.PutChunk{Index: index, Bytes: chunk}
		if err := again(ctx, func() error { return h.Cluster.PutChunk(ctx, who, name, put) }); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) putObject(ctx context.Context, who *nodev1.Principal, b *eventv1.Blob, f *spool) error {
	if h.Objects == nil {
		return noObjects()
	}
	name := blob.Object(who.GetApplicationId(), b.Sha256, b.Generation)
	if err := h.Objects.Put(ctx, name, f.reader(), f.size); err != nil {
		h.options.Logger.Error("a picture could not be put into the object store", "error", err)
		return code.New(code.Unavailable, "The object store does not take the image; try again.")
	}
	return nil
}

func noObjects() error {
	return code.New(code.Unavailable, "The image is in an object store that this node was not told of.")
}

// open gives the bytes of a picture, which the caller closes.
func (h *Handler) open(ctx context.Context, who *nodev1.Principal, p *eventv1.Picture) (io.ReadCloser, error) {
	var bytes io.ReadCloser
	switch {
	case !p.External:
		bytes = &chunks{ctx: ctx, next: func(index uint32) ([]byte, error) {
			return h.Cluster.GetChunk(ctx, who, p.Sha256, index)
		}, count: blob.Chunks(p.Size)}
	case h.Objects == nil:
		return nil, noObjects()
	default:
		object, err := h.Objects.Get(ctx, blob.Object(who.GetApplicationId(), p.Sha256, p.Generation))
		if err != nil {
			h.options.Logger.Error("a picture could not be read from the object store", "error", err)
			return nil, code.New(code.Unavailable, "The object store does not give the image; try again.")
		}
		bytes = object
	}
	return &verified{ReadCloser: bytes, sum: sha256.New(), want: p.Sha256, left: int64(p.Size)}, nil
}

// chunks reads a blob out of the cluster, one chunk at a time.
type chunks struct {
	ctx   context.Context
	next  func(index uint32) ([]byte, error)
	index uint32
	count uint32
	rest  []byte
}

// Read implements io.Reader.
func (c *chunks) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.index == c.count {
			return 0, io.EOF
		}
		chunk, err := c.next(c.index)
		if err != nil {
			return 0, err
		}
		c.rest = chunk
		c.index++
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (c *chunks) Close() error { return nil }

// errDamaged says that stored bytes are not those of their name.
var errDamaged = errors.New("the bytes of a picture are not those of its name")

// verified compares what is read with the name under which it is stored.
type verified struct {
	io.ReadCloser
	sum  hash.Hash
	want string
	left int64
}

// Read implements io.Reader.
func (v *verified) Read(b []byte) (int, error) {
	n, err := v.ReadCloser.Read(b)
	v.sum.Write(b[:n])
	v.left -= int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		// The object store's connection broke: that says nothing about the object.
		return 0, code.New(code.Unavailable, "The object store broke off in the middle of the image; try again.")
	}
	if errors.Is(err, io.EOF) && (v.left != 0 || hex.EncodeToString(v.sum.Sum(nil)) != v.want) || v.left < 0 {
		return 0, errDamaged
	}
	return n, err
}
