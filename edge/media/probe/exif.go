package probe

import (
	"bytes"
	"encoding/binary"
)

const (
	tagOrientation = 0x0112
	typeShort      = 3
)

// exifPrefix stands before the record in a JPEG, and sometimes in a WebP.
const exifPrefix = "Exif\x00\x00"

// exif reads the record of n bytes that comes next. The first one counts.
func (p *prober) exif(n int64) error {
	if p.described {
		return p.skip(n)
	}
	p.described = true
	b, err := p.payload(n)
	p.result.Orientation = orientation(b)
	return err
}

// orientation finds how an image must be turned in its EXIF record: 1 to 8, and 1 for everything
// that is missing or makes no sense. Nothing else of the record is looked at, nor kept.
func orientation(exif []byte) int {
	exif = bytes.TrimPrefix(exif, []byte(exifPrefix))
	if len(exif) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(exif[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	directory := uint64(order.Uint32(exif[4:]))
	if directory+2 > uint64(len(exif)) {
		return 1
	}
	entries := exif[directory+2:]
	for range order.Uint16(exif[directory:]) {
		if len(entries) < 12 {
			return 1
		}
		if order.Uint16(entries) == tagOrientation && order.Uint16(entries[2:]) == typeShort {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}
