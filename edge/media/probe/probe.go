// Package probe looks at the structure of an uploaded image and says what it is, how large it would
// become when it is decoded, and whether it may be: before a single pixel is.
//
// It reads a stream once, keeps a few KiB of it, and believes neither names nor content types. The
// decoders that run afterwards allocate what a header says and work for as long as the data tells
// them to; every number that they follow is therefore found and limited here. What is found twice
// (two headers, two sizes) is refused, so that a decoder cannot take the other one.
package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"parley/proto/code"
)

// Format is a kind of image that is accepted.
type Format string

// The formats.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	GIF  Format = "gif"
	WebP Format = "webp"
)

// Limits bound what may be decoded.
type Limits struct {
	SideMax    int   // pixels
	PixelsMax  int64 // of all frames together
	BytesMax   int64 // of the decoded pixels in memory
	FramesMax  int   // of an animation
	ScansMax   int   // passes of a JPEG, each of which may touch all pixels
	SegmentMax int   // parts that a file may consist of
}

// DefaultLimits are right for photographs of today's phones.
func DefaultLimits() Limits {
	return Limits{SideMax: 65_535, PixelsMax: 40_000_000, BytesMax: 256 << 20, FramesMax: 500, ScansMax: 64, SegmentMax: 100_000}
}

// Validate says what is wrong with l.
func (l Limits) Validate() error {
	if l.SideMax < 1 || l.PixelsMax < 1 || l.BytesMax < 1 || l.FramesMax < 1 || l.ScansMax < 1 || l.SegmentMax < 1 {
		return errors.New("probe limits must be positive")
	}
	if l.SideMax > 65_535 {
		return errors.New("SideMax is at most 65535, what a JPEG can have")
	}
	return nil
}

// Result is what an image is.
type Result struct {
	Format      Format
	Width       int // as stored, before it is turned upright
	Height      int
	Orientation int   // how to turn it: 1 to 8 as in EXIF, 1 = upright
	Frames      int   // of an animation, else 1
	Alpha       bool  // it may have transparent parts
	Bytes       int64 // of the decoded pixels
	Peak        int64 // of memory while it is decoded
}

// Turned says whether width and height change places when the image is upright.
func (r Result) Turned() bool { return r.Orientation >= 5 }

// bufferBytes is what a probe keeps of the stream.
const bufferBytes = 16 << 10

// Probe reads r, from its first byte to the end of the image. Refusals are coded:
// code.UnsupportedMedia for other kinds, code.TooLarge above a limit, code.ValidationFail for
// what is broken. Any other error comes from r.
func Probe(r io.Reader, l Limits) (Result, error) {
	c := &cursor{reader: bufio.NewReaderSize(r, bufferBytes), limits: l}
	p := &prober{cursor: c, result: Result{Orientation: 1, Frames: 1}}
	head, err := c.reader.Peek(16)
	if err != nil && !errors.Is(err, io.EOF) {
		return Result{}, err
	}
	if err := p.walk(head); err != nil {
		return Result{}, c.refusal(err)
	}
	if err := p.check(); err != nil {
		return Result{}, err
	}
	return p.result, nil
}

// prober is one walk through a file.
type prober struct {
	*cursor
	result    Result
	pixels    int64 // of all frames
	described bool  // an EXIF record was found
}

func (p *prober) walk(head []byte) error {
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xd8\xff")):
		p.result.Format = JPEG
		return p.jpeg()
	case bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")):
		p.result.Format = PNG
		return p.png()
	case bytes.HasPrefix(head, []byte("GIF87a")) || bytes.HasPrefix(head, []byte("GIF89a")):
		p.result.Format = GIF
		return p.gif()
	case len(head) >= 12 && string(head[:4]) == "RIFF" && string(head[8:12]) == "WEBP":
		p.result.Format = WebP
		return p.webp()
	}
	return other(head)
}

// other says what the file is instead, where that is known: people do not always know themselves.
func other(head []byte) error {
	kind := "is no image of these kinds"
	for _, k := range []struct {
		at          int
		magic, name string
	}{
		{4, "ftypavif", "is AVIF"}, {4, "ftypavis", "is AVIF"}, {4, "ftyphei", "is HEIC"}, {4, "ftyphev", "is HEIC"},
		{4, "ftypmif1", "is HEIF"}, {4, "ftyp", "is a video or another file of its family"},
		{0, "BM", "is a bitmap (BMP)"}, {0, "II*\x00", "is TIFF"}, {0, "MM\x00*", "is TIFF"},
		{0, "%PDF-", "is PDF"}, {0, "<svg", "is SVG"}, {0, "<?xml", "is XML"}, {0, "<", "is a text with markup"},
	} {
		if len(head) >= k.at+len(k.magic) && string(head[k.at:k.at+len(k.magic)]) == k.magic {
			kind = k.name
			break
		}
	}
	if len(head) == 0 {
		kind = "is empty"
	}
	return code.New(code.UnsupportedMedia, "Images may be JPEG, PNG, GIF or WebP; this file %s.", kind)
}

// size takes a width and a height into the result, once.
func (p *prober) size(width, height int) error {
	switch {
	case width == 0 || height == 0:
		return broken("it has no pixels")
	case p.result.Width != 0:
		return broken("it says its size twice")
	}
	p.result.Width, p.result.Height = width, height
	if width > p.limits.SideMax || height > p.limits.SideMax {
		return tooLarge("is %d x %d pixels, and no side may have more than %d", width, height, p.limits.SideMax)
	}
	return p.area(width, height)
}

// area counts the pixels of one frame.
func (p *prober) area(width, height int) error {
	p.pixels += int64(width) * int64(height)
	if p.pixels > p.limits.PixelsMax {
		return tooLarge("has more than %d pixels", p.limits.PixelsMax)
	}
	return nil
}

// check ends a walk.
func (p *prober) check() error {
	if p.result.Width == 0 {
		return p.refusal(broken("it has no size"))
	}
	p.result.Peak = max(p.result.Peak, p.result.Bytes)
	if p.result.Bytes > p.limits.BytesMax {
		return tooLarge("would need %d bytes of memory, and may need %d", p.result.Bytes, p.limits.BytesMax)
	}
	return nil
}

func tooLarge(format string, args ...any) error {
	return code.New(code.TooLarge, "The image "+format+".", args...)
}

// brokenError says what is wrong with a file's structure.
type brokenError struct{ what string }

func (e *brokenError) Error() string { return e.what }

func broken(format string, args ...any) error { return &brokenError{fmt.Sprintf(format, args...)} }

// cursor reads a stream in the units of file formats.
type cursor struct {
	reader   *bufio.Reader
	limits   Limits
	segments int
	scratch  [16]byte
}

// refusal words what is wrong with the file for whoever sent it.
func (c *cursor) refusal(err error) error {
	if _, coded := code.Of(err); coded {
		return err
	}
	var b *brokenError
	switch {
	case errors.As(err, &b):
		return code.Invalid("file", "is broken: "+b.what)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return code.Invalid("file", "is broken: it ends too early")
	}
	return err
}

// segment counts one part of the file.
func (c *cursor) segment() error {
	if c.segments++; c.segments > c.limits.SegmentMax {
		return tooLarge("consists of more than %d parts", c.limits.SegmentMax)
	}
	return nil
}

// take gives the next n bytes, at most 16, valid until the next call.
func (c *cursor) take(n int) ([]byte, error) {
	_, err := io.ReadFull(c.reader, c.scratch[:n])
	return c.scratch[:n], err
}

func (c *cursor) skip(n int64) error {
	for n > 0 {
		step, err := c.reader.Discard(int(min(n, 1<<30)))
		if n -= int64(step); err != nil {
			return err
		}
	}
	return nil
}

// payload gives n bytes as a copy, when they are few enough to be worth reading.
func (c *cursor) payload(n int64) ([]byte, error) {
	const most = 64 << 10
	if n > most {
		return nil, c.skip(n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c.reader, b)
	return b, err
}
