package probe

import "encoding/binary"

// The colour types of a PNG.
const (
	pngGray      = 0
	pngColour    = 2
	pngPalette   = 3
	pngGrayAlpha = 4
	pngAlpha     = 6
)

// png walks the chunks to the last one.
func (p *prober) png() error {
	if err := p.skip(8); err != nil {
		return err
	}
	for first := true; ; first = false {
		if err := p.segment(); err != nil {
			return err
		}
		b, err := p.take(8)
		if err != nil {
			return err
		}
		length, name := int64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if first != (name == "IHDR") {
			return broken("its header is missing or comes twice")
		}
		if length > 1<<31-1 {
			return broken("a part is too long")
		}
		if err := p.pngChunk(name, length); err != nil {
			return err
		}
		if err := p.skip(4); err != nil || name == "IEND" { // the checksum is the decoder's
			return err
		}
	}
}

func (p *prober) pngChunk(name string, length int64) error {
	switch name {
	case "IHDR":
		return p.pngHeader(length)
	case "tRNS":
		p.result.Alpha = true
	case "eXIf":
		return p.exif(length)
	}
	return p.skip(length)
}

func (p *prober) pngHeader(length int64) error {
	if length != 13 {
		return broken("its header has a wrong length")
	}
	b, err := p.take(13)
	if err != nil {
		return err
	}
	width, height := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if width > 1<<31-1 || height > 1<<31-1 {
		return broken("its size is out of range")
	}
	depth, colour, interlaced := b[8], b[9], b[12] != 0
	if err := p.size(int(width), int(height)); err != nil {
		return err
	}
	p.result.Alpha = colour == pngGrayAlpha || colour == pngAlpha
	each := int64(4)
	switch {
	case depth == 16:
		each = 8
	case colour == pngPalette:
		each = 1
	case colour != pngGray && colour != pngColour && !p.result.Alpha:
		return broken("its colour type is unknown")
	}
	p.result.Bytes = p.pixels * each
	if interlaced {
		p.result.Peak = p.result.Bytes * 3 / 2 // a pass is decoded beside the picture
	}
	return nil
}
