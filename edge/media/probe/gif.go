package probe

import "encoding/binary"

// paletteBytes is what a decoded palette of 256 colours takes.
const paletteBytes = 8 << 10

// gif walks the blocks to the trailer, counting frames and their pixels.
func (p *prober) gif() error {
	if err := p.gifScreen(); err != nil {
		return err
	}
	for {
		if err := p.segment(); err != nil {
			return err
		}
		kind, err := p.reader.ReadByte()
		if err != nil {
			return err
		}
		switch kind {
		case 0x21:
			err = p.gifExtension()
		case 0x2c:
			err = p.gifFrame()
		case 0x3b:
			return p.gifTrailer()
		default:
			return broken("a part has an unknown kind")
		}
		if err != nil {
			return err
		}
	}
}

// gifScreen reads the header: the size of the screen that frames are drawn onto.
func (p *prober) gifScreen() error {
	b, err := p.take(13)
	if err != nil {
		return err
	}
	width, height := int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	flags := b[10]
	if err := p.size(width, height); err != nil {
		return err
	}
	p.pixels = 0 // frames count, the screen alone does not
	p.result.Frames = 0
	p.result.Alpha = true
	return p.gifPalette(flags)
}

// gifExtension skips a label, then blocks.
func (p *prober) gifExtension() error {
	if err := p.skip(1); err != nil {
		return err
	}
	return p.gifBlocks()
}

// gifTrailer adds up what decoding will take.
func (p *prober) gifTrailer() error {
	if p.result.Frames == 0 {
		return broken("it has no picture")
	}
	p.result.Bytes = p.pixels + int64(p.result.Frames)*paletteBytes
	// The first frame is drawn onto the screen for the smaller pictures.
	p.result.Peak = p.result.Bytes + 4*int64(p.result.Width)*int64(p.result.Height)
	return nil
}

func (p *prober) gifPalette(flags byte) error {
	if flags&0x80 == 0 {
		return nil
	}
	return p.skip(3 << (1 + flags&7))
}

func (p *prober) gifFrame() error {
	if p.result.Frames++; p.result.Frames > p.limits.FramesMax {
		return tooLarge("has more than %d frames", p.limits.FramesMax)
	}
	b, err := p.take(9)
	if err != nil {
		return err
	}
	x, y := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	width, height := int(binary.LittleEndian.Uint16(b[4:])), int(binary.LittleEndian.Uint16(b[6:]))
	flags := b[8]
	if x+width > p.result.Width || y+height > p.result.Height {
		return broken("a frame is larger than the picture")
	}
	if err := p.area(width, height); err != nil {
		return err
	}
	if err := p.gifPalette(flags); err != nil {
		return err
	}
	if err := p.skip(1); err != nil { // the size of the first codes
		return err
	}
	return p.gifBlocks()
}

// gifBlocks skips blocks up to an empty one.
func (p *prober) gifBlocks() error {
	for {
		length, err := p.reader.ReadByte()
		if err != nil || length == 0 {
			return err
		}
		if err := p.skip(int64(length)); err != nil {
			return err
		}
	}
}
