package sample

import (
	"bytes"
	"encoding/binary"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// PNGHeader is the beginning of a PNG of any size.
func PNGHeader(w, h uint32, depth, colour byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, w)
	b = append(binary.BigEndian.AppendUint32(b, h), depth, colour, 0, 0, 0)
	return append([]byte(pngSignature), chunk("IHDR", b)...)
}

// PNGEnd is the last chunk.
func PNGEnd() []byte { return chunk("IEND", nil) }

// PNGParts is a small PNG with n empty chunks.
func PNGParts(n int) []byte {
	return append(append(PNGHeader(8, 8, 8, 6), bytes.Repeat(chunk("junk", nil), n)...), PNGEnd()...)
}

// JPEGHeader is a progressive JPEG whose n passes have no data.
func JPEGHeader(w, h uint16, passes int) []byte {
	b := []byte{0xff, 0xd8, 0xff, 0xc2, 0, 17, 8}
	b = binary.BigEndian.AppendUint16(b, h)
	b = binary.BigEndian.AppendUint16(b, w)
	b = append(b, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0)
	for range passes {
		b = append(b, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0)
	}
	return append(b, 0xff, 0xd9)
}

// GIFFrames is an animation of n frames of the whole screen, without data.
func GIFFrames(w, h uint16, n int) []byte {
	size := binary.LittleEndian.AppendUint16(nil, w)
	size = binary.LittleEndian.AppendUint16(size, h)
	b := append(append([]byte("GIF89a"), size...), 0, 0, 0)
	frame := append(append([]byte{0x2c, 0, 0, 0, 0}, size...), 0, 2, 0)
	return append(append(b, bytes.Repeat(frame, n)...), 0x3b)
}

func riff(chunks ...[]byte) []byte {
	body := append([]byte("WEBP"), bytes.Join(chunks, nil)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func vp8x(flags byte, w, h uint32) []byte {
	w, h = w-1, h-1
	return riffChunk("VP8X", []byte{flags, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
}

func vp8(w, h uint16) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{0, 0, 0, 0x9d, 0x01, 0x2a}, w)
	return riffChunk("VP8 ", binary.LittleEndian.AppendUint16(b, h))
}

// WebPCanvas is an extended WebP without a picture.
func WebPCanvas(w, h uint32) []byte { return riff(vp8x(0, w, h)) }

// WebPLossy is the header of a lossy WebP.
func WebPLossy(w, h uint16) []byte { return riff(vp8(w, h)) }

// WebPBoth is an extended WebP whose picture has another size than its canvas.
func WebPBoth(canvasW, canvasH uint32, w, h uint16) []byte {
	return riff(vp8x(0, canvasW, canvasH), vp8(w, h))
}

// AnimatedWebP is the header of an animation.
func AnimatedWebP() []byte { return riff(vp8x(2, 10, 10)) }
