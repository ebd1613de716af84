package probe

import (
	"bytes"
	"encoding/binary"

	"parley/proto/code"
)

// The markers of a JPEG that matter here.
const (
	markerSOF0 = 0xc0 // baseline
	markerSOF2 = 0xc2 // progressive
	markerDHT  = 0xc4
	markerJPG  = 0xc8
	markerDAC  = 0xcc
	markerRST0 = 0xd0
	markerSOI  = 0xd8
	markerEOI  = 0xd9
	markerSOS  = 0xda
	markerAPP1 = 0xe1
	markerTEM  = 0x01
)

// jpegWalk is what must be remembered between the segments of a JPEG.
type jpegWalk struct {
	*prober
	scans int
}

// jpeg walks the segments to the end of the image. What follows it is of no interest: it does not
// survive.
func (p *prober) jpeg() error {
	if err := p.skip(2); err != nil {
		return err
	}
	w := &jpegWalk{prober: p}
	for {
		marker, err := p.marker()
		if err != nil {
			return err
		}
		switch {
		case marker == markerEOI:
			if w.scans == 0 {
				return broken("it has no picture")
			}
			return nil
		case marker == markerSOI:
			return broken("it begins twice")
		case marker == markerTEM || marker >= markerRST0 && marker < markerSOI:
			continue // without a length
		}
		if err := w.part(marker); err != nil {
			return err
		}
	}
}

// marker skips to the next marker: to what follows the last 0xff before it.
func (p *prober) marker() (byte, error) {
	if err := p.segment(); err != nil {
		return 0, err
	}
	b, err := p.reader.ReadByte()
	if err != nil {
		return 0, err
	}
	if b != 0xff {
		return 0, broken("a part does not begin where it should")
	}
	for b == 0xff {
		if b, err = p.reader.ReadByte(); err != nil {
			return 0, err
		}
	}
	if b == 0 {
		return 0, broken("a part has no name")
	}
	return b, nil
}

// part takes one segment with a length.
func (w *jpegWalk) part(marker byte) error {
	b, err := w.take(2)
	if err != nil {
		return err
	}
	length := int64(binary.BigEndian.Uint16(b)) - 2
	if length < 0 {
		return broken("a part has a negative length")
	}
	switch {
	case marker == markerAPP1:
		return w.app1(length)
	case marker == markerSOS:
		return w.scan(length)
	case marker == markerDHT || marker == markerJPG || marker == markerDAC:
		return w.skip(length)
	case marker >= markerSOF0 && marker <= 0xcf:
		return w.frame(marker, length)
	}
	return w.skip(length)
}

// app1 looks for the orientation.
func (w *jpegWalk) app1(length int64) error {
	head, err := w.reader.Peek(len(exifPrefix))
	if err != nil {
		return err
	}
	if length < int64(len(head)) || string(head) != exifPrefix {
		return w.skip(length)
	}
	return w.exif(length)
}

// frame takes the frame header: size and how many samples the decoder will hold.
func (w *jpegWalk) frame(marker byte, length int64) error {
	if marker > markerSOF2 {
		return code.New(code.UnsupportedMedia, "This kind of JPEG (lossless or arithmetic) is not supported.")
	}
	if length < 6 {
		return broken("its header is too short")
	}
	b, err := w.payload(length)
	if err != nil {
		return err
	}
	height, width, components := int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:])), int(b[5])
	if components != 1 && components != 3 && components != 4 || len(b) != 6+3*components {
		return broken("it has %d components", components)
	}
	if err := w.size(width, height); err != nil {
		return err
	}
	samples, err := samples(b[6:], int64(width), int64(height))
	if err != nil {
		return err
	}
	w.result.Bytes = samples
	if marker == markerSOF2 {
		w.result.Peak = samples * 5 // the coefficients, of four bytes each, and the pixels
	}
	return nil
}

// samples is how many samples a frame holds: every component is stored at a part of the largest
// one's resolution, in blocks.
func samples(components []byte, width, height int64) (int64, error) {
	var hMax, vMax int64 = 1, 1
	for i := 0; i < len(components); i += 3 {
		h, v := int64(components[i+1]>>4), int64(components[i+1]&15)
		if h < 1 || h > 4 || v < 1 || v > 4 {
			return 0, broken("its sampling factors are out of range")
		}
		hMax, vMax = max(hMax, h), max(vMax, v)
	}
	across, down := (width+8*hMax-1)/(8*hMax), (height+8*vMax-1)/(8*vMax)
	var total int64
	for i := 0; i < len(components); i += 3 {
		total += across * down * 64 * int64(components[i+1]>>4) * int64(components[i+1]&15)
	}
	return total, nil
}

// scan skips a scan: its header, and the coded data up to the next real marker.
func (w *jpegWalk) scan(length int64) error {
	if w.result.Width == 0 {
		return broken("its picture comes before its size")
	}
	if w.scans++; w.scans > w.limits.ScansMax {
		return tooLarge("is coded in more than %d passes", w.limits.ScansMax)
	}
	if err := w.skip(length); err != nil {
		return err
	}
	for {
		if _, err := w.reader.Peek(2); err != nil {
			return err
		}
		buffered, err := w.reader.Peek(w.reader.Buffered())
		if err != nil {
			return err
		}
		coded, ended := codedBytes(buffered)
		if _, err := w.reader.Discard(coded); err != nil || ended {
			return err
		}
	}
}

// codedBytes is how many bytes of b, at least one, belong to a scan; ended says that a marker
// follows them. A 0xff that ends b is left for the next look.
func codedBytes(b []byte) (n int, ended bool) {
	for {
		i := bytes.IndexByte(b[n:], 0xff)
		if i < 0 {
			return len(b), false
		}
		n += i
		if n+1 == len(b) {
			return n, false
		}
		switch next := b[n+1]; {
		case next == 0 || next >= markerRST0 && next < markerSOI:
			n += 2
		case next == 0xff:
			n++
		default:
			return n, true
		}
	}
}
