// Package picture turns an uploaded image into the three pictures that are shown: the original, a
// medium one and a thumbnail.
//
// Every picture is decoded to pixels and encoded anew, turned upright. What an upload carried
// besides its pixels (where and with what it was taken, comments, colour profiles, a second file
// behind the first) therefore reaches nobody. The file must have passed package probe.
package picture

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/webp"

	"parley/edge/media/probe"
	"parley/proto/code"
)

// The media types of pictures.
const (
	TypeJPEG = "image/jpeg"
	TypePNG  = "image/png"
	TypeGIF  = "image/gif"
)

// Settings are what the uploader may choose.
type Settings struct {
	Quality   int // of JPEG, 0 to 100
	Medium    int // sides of the medium picture, per cent of the original's, 1 to 100
	Thumbnail int // sides of the thumbnail, likewise
}

// Kinds is how many pictures an image has: original, medium, thumbnail, in this order.
const Kinds = 3

// Picture is what was written.
type Picture struct {
	Type   string
	Width  int
	Height int
}

// Memory is about how many bytes Render needs for an image.
func Memory(p probe.Result, s Settings) int64 {
	pixels := int64(p.Width) * int64(p.Height) * 4
	upright := p.Bytes
	if p.Orientation != 1 {
		upright += pixels
	}
	smaller := func(ratio int) int64 { return pixels * int64(ratio) / 100 * int64(ratio) / 100 }
	return max(p.Peak, upright+smaller(s.Medium)+smaller(s.Thumbnail))
}

// Render decodes src, which p describes, and writes its three pictures. It stops soon after ctx
// has ended. Errors of src and out pass through; what can not be decoded is code.ValidationFail.
func Render(ctx context.Context, src io.Reader, p probe.Result, s Settings, out [Kinds]io.Writer) (done [Kinds]Picture, err error) {
	for i := range out {
		out[i] = &untilWriter{ctx, out[i]}
	}
	d, err := decode(ctx, src, p)
	if err != nil {
		return done, err
	}
	if done[0], err = d.encode(out[0], d.still, s.Quality, true); err != nil {
		return done, err
	}
	d.animation = nil
	for i, ratio := range []int{s.Medium, s.Thumbnail} {
		small, err := Shrink(ctx, d.still, part(d.still.Bounds().Dx(), ratio), part(d.still.Bounds().Dy(), ratio))
		if err != nil {
			return done, err
		}
		if done[i+1], err = d.encode(out[i+1], small, s.Quality, false); err != nil {
			return done, err
		}
	}
	return done, nil
}

// part is ratio per cent of a side, at least one pixel.
func part(side, ratio int) int {
	return max(1, int(math.Round(float64(side)*float64(ratio)/100)))
}

// decoded is an upload as pixels.
type decoded struct {
	still     image.Image // upright; of an animation the first frame
	animation *gif.GIF    // nil when there is none
	kind      string      // media type of the still pictures
}

func decode(ctx context.Context, src io.Reader, p probe.Result) (d *decoded, err error) {
	in := &untilReader{ctx: ctx, reader: src}
	defer func() {
		if cause := recover(); cause != nil { // a decoder met what it did not foresee
			d, err = nil, undecodable(fmt.Errorf("decoder panicked: %v", cause))
		}
	}()
	d = &decoded{kind: TypePNG}
	switch p.Format {
	case probe.JPEG:
		d.kind = TypeJPEG
		d.still, err = jpeg.Decode(in)
	case probe.PNG:
		d.still, err = png.Decode(in)
	case probe.WebP:
		d.still, err = webp.Decode(in)
		if !p.Alpha {
			d.kind = TypeJPEG
		}
	case probe.GIF:
		if d.animation, err = gif.DecodeAll(in); err == nil {
			d.still = firstFrame(d.animation)
		}
	default:
		err = fmt.Errorf("format %q", p.Format)
	}
	switch {
	case in.err != nil:
		return nil, in.err
	case err != nil:
		return nil, undecodable(err)
	case d.animation == nil && d.still.Bounds().Size() != image.Pt(p.Width, p.Height):
		return nil, undecodable(errors.New("the picture has another size than its header"))
	}
	d.still, err = Upright(ctx, d.still, p.Orientation)
	return d, err
}

// firstFrame draws the first frame of an animation onto its screen.
func firstFrame(g *gif.GIF) image.Image {
	frame := g.Image[0]
	screen := image.Rect(0, 0, g.Config.Width, g.Config.Height)
	if frame.Rect == screen {
		return frame
	}
	whole := image.NewNRGBA(screen)
	for y := frame.Rect.Min.Y; y < frame.Rect.Max.Y; y++ {
		for x := frame.Rect.Min.X; x < frame.Rect.Max.X; x++ {
			whole.Set(x, y, frame.At(x, y))
		}
	}
	return whole
}

func undecodable(err error) error {
	return code.Invalid("file", "can not be decoded: "+err.Error())
}

// encode writes one picture. whole asks for all frames of an animation.
func (d *decoded) encode(w io.Writer, m image.Image, quality int, whole bool) (Picture, error) {
	size := m.Bounds().Size()
	p := Picture{Type: d.kind, Width: size.X, Height: size.Y}
	var err error
	switch {
	case whole && d.animation != nil:
		p.Type = TypeGIF
		err = gif.EncodeAll(w, d.animation)
	case d.kind == TypeJPEG:
		err = jpeg.Encode(w, m, &jpeg.Options{Quality: max(1, quality)})
	default:
		err = png.Encode(w, m)
	}
	if err != nil {
		return p, fmt.Errorf("encode a picture: %w", err)
	}
	return p, nil
}

// untilReader fails once its context has ended: decoders know no other way to be stopped.
type untilReader struct {
	ctx    context.Context
	reader io.Reader
	err    error // the first one that says nothing about the image
}

// Read implements io.Reader.
func (r *untilReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		r.err = err
		return 0, err
	}
	n, err := r.reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// untilWriter is the same for encoders.
type untilWriter struct {
	ctx    context.Context
	writer io.Writer
}

// Write implements io.Writer.
func (w *untilWriter) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.writer.Write(b)
}
