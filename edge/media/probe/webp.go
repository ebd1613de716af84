package probe

import (
	"encoding/binary"
	"io"

	"parley/proto/code"
)

const (
	webpAnimated  = 0x02
	webpSideBytes = 3 // of a side of the canvas, less one
)

// webpWalk is what must be remembered between the chunks of a WebP.
type webpWalk struct {
	*prober
	canvasWidth, canvasHeight int // of an extended file, else 0
}

// webp walks the chunks to the end that the header names.
func (p *prober) webp() error {
	b, err := p.take(12)
	if err != nil {
		return err
	}
	left := int64(binary.LittleEndian.Uint32(b[4:])) - 4
	w := &webpWalk{prober: p}
	for left >= 8 {
		if err := p.segment(); err != nil {
			return err
		}
		if b, err = p.take(8); err != nil {
			return err
		}
		name, length := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		padded := length + length&1
		if left -= 8 + padded; left < 0 {
			return broken("a part is longer than the file")
		}
		used, err := w.chunk(name, length)
		if err != nil {
			return err
		}
		if err := p.skip(padded - used); err != nil {
			return err
		}
	}
	if w.canvasWidth != 0 && (w.canvasWidth != p.result.Width || w.canvasHeight != p.result.Height) {
		return broken("it says two different sizes")
	}
	return nil
}

// chunk looks at one chunk, and says how many of its bytes it has read.
func (w *webpWalk) chunk(name string, length int64) (used int64, err error) {
	switch name {
	case "VP8X":
		return w.extended(length)
	case "VP8 ":
		return w.lossy(length)
	case "VP8L":
		return w.lossless(length)
	case "ALPH":
		w.result.Alpha = true
	case "ANIM", "ANMF":
		return 0, animated()
	case "EXIF":
		return length, w.exif(length)
	}
	return 0, nil
}

func animated() error {
	return code.New(code.UnsupportedMedia, "Animated WebP is not supported; send it as GIF.")
}

func (w *webpWalk) extended(length int64) (int64, error) {
	if length < 10 || w.canvasWidth != 0 || w.result.Width != 0 {
		return 0, broken("its header has a wrong length or place")
	}
	b, err := w.take(10)
	if err != nil {
		return 0, err
	}
	if b[0]&webpAnimated != 0 {
		return 0, animated()
	}
	side := func(b []byte) int { return 1 + int(b[0]) + int(b[1])<<8 + int(b[2])<<16 }
	w.canvasWidth, w.canvasHeight = side(b[4:]), side(b[4+webpSideBytes:])
	if int64(w.canvasWidth)*int64(w.canvasHeight) > w.limits.PixelsMax {
		return 0, tooLarge("has more than %d pixels", w.limits.PixelsMax)
	}
	return 10, nil
}

func (w *webpWalk) lossy(length int64) (int64, error) {
	if length < 10 {
		return 0, io.ErrUnexpectedEOF
	}
	b, err := w.take(10)
	if err != nil {
		return 0, err
	}
	if b[0]&1 != 0 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
		return 0, broken("its picture has no key frame")
	}
	width, height := int(binary.LittleEndian.Uint16(b[6:]))&0x3fff, int(binary.LittleEndian.Uint16(b[8:]))&0x3fff
	err = w.size(width, height)
	w.result.Bytes = w.pixels * 5 / 2 // half resolution colour, and perhaps transparency
	w.result.Peak = w.pixels * 6
	return 10, err
}

func (w *webpWalk) lossless(length int64) (int64, error) {
	if length < 5 {
		return 0, io.ErrUnexpectedEOF
	}
	b, err := w.take(5)
	if err != nil {
		return 0, err
	}
	bits := binary.LittleEndian.Uint32(b[1:])
	if b[0] != 0x2f || bits>>29 != 0 {
		return 0, broken("its picture has an unknown version")
	}
	err = w.size(1+int(bits&0x3fff), 1+int(bits>>14&0x3fff))
	w.result.Alpha = true
	w.result.Bytes = w.pixels * 4
	w.result.Peak = w.pixels * 8 // transforms work beside the picture
	return 5, err
}
