package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"parley/actors/blob/image"
	"parley/edge/media/picture"
	"parley/edge/media/probe"
	"parley/edge/web"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// keyBytesMax bounds an idempotency key, which is stored with what it made.
const keyBytesMax = 128

// Image is the answer to an upload, the three pictures that were made of it, and what clients put
// into image events.
type Image struct {
	ID        string  `json:"id"`
	Original  Picture `json:"original"`
	Medium    Picture `json:"medium"`
	Thumbnail Picture `json:"thumbnail"`
}

// Picture is one of them.
type Picture struct {
	URL  string `json:"url" format:"uri" doc:"Absolute; it needs a bearer token of the application."`
	ID   string `json:"id"`
	Type string `json:"type" enum:"ORIGINAL,MEDIUM,THUMBNAIL"`
	Size uint64 `json:"size" doc:"In bytes."`
}

// create takes an upload and answers with its pictures, status 200.
func (h *Handler) create(a *web.Writer, c *call) error {
	if err := h.admit(c.request.Context(), c, uploadCost); err != nil {
		return err
	}
	key := c.request.Header.Get("Idempotency-Key")
	if len(key) > keyBytesMax || strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return code.Invalid("Idempotency-Key", fmt.Sprintf("must be at most %d printable ASCII characters", keyBytesMax))
	}
	leave, err := h.uploads.take(c.who.ApplicationId + "/" + c.who.UserId)
	if err != nil {
		return err
	}
	defer leave()
	started := h.options.Now()
	u, err := h.receive(c)
	if err != nil {
		return err
	}
	h.stage("receive", &started)
	made, err := h.process(c, u, newImageID(c.who.ApplicationId, c.who.UserId, key), key)
	if err := errors.Join(err, u.file.Close()); err != nil {
		return err
	}
	h.writeJSON(a, http.StatusOK, c.reply(made))
	return nil
}

// process makes an image of an upload that has arrived. A repetition of an answered upload gives
// what was made then.
func (h *Handler) process(c *call, u *upload, name, key string) (*eventv1.Image, error) {
	ctx, cancel := context.WithTimeout(c.request.Context(), h.options.ProcessTimeout)
	defer cancel()
	if key != "" {
		made, err := h.Cluster.GetImage(ctx, c.who, name)
		if err == nil || !code.Has(err, code.NotFound) {
			return made, err
		}
	}
	var files [picture.Kinds]*spool
	defer func() {
		for _, f := range files {
			if f != nil {
				_ = f.Close() // it was only read
			}
		}
	}()
	for i := range files {
		var err error
		if files[i], err = newSpool(h.options.SpoolDir, maxPictureBytes); err != nil {
			return nil, err
		}
	}
	rendered, err := h.render(ctx, u, files)
	if err != nil {
		return nil, err
	}
	started := h.options.Now()
	made, err := h.keep(ctx, c, &eventv1.Image{Id: name, IdempotencyKey: key}, rendered, files)
	h.stage("store", &started)
	return made, err
}

// render looks at the upload, waits for memory and makes the pictures.
func (h *Handler) render(ctx context.Context, u *upload, files [picture.Kinds]*spool) (done [picture.Kinds]picture.Picture, err error) {
	started := h.options.Now()
	found, err := probe.Probe(u.file.reader(), h.options.Limits)
	if err != nil {
		return done, err
	}
	h.stage("probe", &started)
	need := picture.Memory(found, u.settings)
	if need > h.options.MemoryBytesMax {
		return done, code.New(code.TooLarge, "The image would need %d bytes of memory, and may need %d.", need, h.options.MemoryBytesMax)
	}
	need = max(need, h.options.MemoryBytesMax/int64(h.options.DecodesMax)) // so that there are never more at once
	if err := h.memory.Acquire(ctx, need); err != nil {
		return done, code.New(code.Unavailable, "Too many images are being decoded; try again.")
	}
	defer h.memory.Release(need)
	h.metrics.decoding.Add(float64(need))
	defer h.metrics.decoding.Sub(float64(need))
	h.stage("wait", &started)
	defer h.stage("render", &started)
	done, err = picture.Render(ctx, u.file.reader(), found, u.settings, [picture.Kinds]io.Writer{files[0], files[1], files[2]})
	if errors.Is(err, errSpoolFull) {
		err = code.New(code.TooLarge, "A picture would have more than %d bytes; a smaller image or a lower quality_ratio fits.", maxPictureBytes)
	}
	return done, err
}

// keep stores the pictures, all at once, and then the record that makes them visible.
func (h *Handler) keep(ctx context.Context, c *call, i *eventv1.Image, done [picture.Kinds]picture.Picture, files [picture.Kinds]*spool) (*eventv1.Image, error) {
	var stored [picture.Kinds]*eventv1.Picture
	g, gctx := errgroup.WithContext(ctx)
	for n := range files {
		g.Go(func() error {
			kept, err := h.store(gctx, c.who, i.Id, files[n])
			if err != nil {
				return err
			}
			stored[n] = &eventv1.Picture{
				Sha256: kept.Sha256, Size: kept.Size, External: kept.External, Generation: kept.Generation,
				MediaType: done[n].Type, Width: uint32(done[n].Width), Height: uint32(done[n].Height),
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	i.Original, i.Medium, i.Thumbnail = stored[0], stored[1], stored[2]
	var made *eventv1.Image
	err := again(ctx, func() (err error) {
		made, err = h.Cluster.CreateImage(ctx, c.who, i)
		return err
	})
	return made, err
}

// reply renders an image as the client that asked will find it.
func (c *call) reply(i *eventv1.Image) Image {
	var all [picture.Kinds]Picture
	for n, p := range image.Pictures(i) {
		name := pictureID(i.Id, n)
		all[n] = Picture{URL: c.origin() + root + "/" + name, ID: name, Type: types[n], Size: p.GetSize()}
	}
	return Image{ID: i.Id, Original: all[0], Medium: all[1], Thumbnail: all[2]}
}

// origin is the origin that the client used, as far as it can be known: what the client says of
// itself only comes back to itself.
func (c *call) origin() string {
	scheme := "http"
	if c.request.TLS != nil {
		scheme = "https"
	}
	forwarded, _, _ := strings.Cut(c.request.Header.Get("X-Forwarded-Proto"), ",")
	if f := strings.ToLower(strings.TrimSpace(forwarded)); f == "http" || f == "https" {
		scheme = f
	}
	host := c.request.Host
	if host == "" || strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"'<>\^{}|/?#@`, c) }) {
		host = "localhost"
	}
	return scheme + "://" + host
}
