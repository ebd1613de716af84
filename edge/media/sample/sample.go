// Package sample makes image files for tests: good ones, and ones that lie.
package sample

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"testing"
)

// Scene is a picture in which every corner differs: red, green, blue and white from the top left,
// clockwise. alpha applies to the blue quarter.
func Scene(w, h int, alpha uint8) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, quarter(x*2 >= w, y*2 >= h, alpha))
		}
	}
	return m
}

func quarter(right, bottom bool, alpha uint8) color.NRGBA {
	switch {
	case !right && !bottom:
		return color.NRGBA{R: 250, A: 255}
	case right && !bottom:
		return color.NRGBA{G: 250, A: 255}
	case right:
		return color.NRGBA{B: 250, A: alpha}
	}
	return color.NRGBA{R: 250, G: 250, B: 250, A: 255}
}

func encoded(t testing.TB, encode func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// JPEG is the scene as JPEG.
func JPEG(t testing.TB, w, h int) []byte {
	return encoded(t, func(b io.Writer) error { return jpeg.Encode(b, Scene(w, h, 255), &jpeg.Options{Quality: 95}) })
}

// GrayJPEG is a JPEG with one component.
func GrayJPEG(t testing.TB, w, h int) []byte {
	return encoded(t, func(b io.Writer) error { return jpeg.Encode(b, image.NewGray(image.Rect(0, 0, w, h)), nil) })
}

// PNG is the scene as PNG, with a transparent quarter.
func PNG(t testing.TB, w, h int) []byte {
	return encoded(t, func(b io.Writer) error { return png.Encode(b, Scene(w, h, 0)) })
}

// GIF is an animation of n frames.
func GIF(t testing.TB, w, h, n int) []byte {
	palette := color.Palette{color.Transparent, color.RGBA{R: 255, A: 255}, color.RGBA{B: 255, A: 255}}
	all := &gif.GIF{LoopCount: 3}
	for i := range n {
		m := image.NewPaletted(image.Rect(0, 0, w, h), palette)
		for p := range m.Pix {
			m.Pix[p] = uint8(1 + i%2)
		}
		all.Image, all.Delay = append(all.Image, m), append(all.Delay, 7)
	}
	return encoded(t, func(b io.Writer) error { return gif.EncodeAll(b, all) })
}

// WebP is a lossless WebP of one pixel.
func WebP() []byte { return decode64("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==") }

// LossyWebP is a lossy WebP of one pixel.
func LossyWebP() []byte { return decode64("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA") }

func decode64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// EXIF is a record that says how the image must be turned, and where it was taken.
func EXIF(orientation int) []byte {
	order := binary.ByteOrder(binary.LittleEndian)
	mark := "II*\x00"
	if orientation%2 == 0 {
		order, mark = binary.BigEndian, "MM\x00*"
	}
	b := append([]byte("Exif\x00\x00"), mark...)
	b = append(b, make([]byte, 4+2+2*12+4)...)
	tiff := b[6:]
	order.PutUint32(tiff[4:], 8)
	order.PutUint16(tiff[8:], 2)
	for i, e := range []struct{ tag, kind, value uint16 }{{0x0100, 3, 99}, {0x0112, 3, uint16(orientation)}} {
		at := tiff[10+12*i:]
		order.PutUint16(at, e.tag)
		order.PutUint16(at[2:], e.kind)
		order.PutUint32(at[4:], 1)
		order.PutUint16(at[8:], e.value)
	}
	return append(b, Secret...)
}

// Secret stands in every EXIF record: no answer may contain it.
const Secret = "GPS 48.8584N 2.2945E"

// WithAPP1 puts an application segment behind a JPEG's first bytes.
func WithAPP1(file, payload []byte) []byte {
	b := append([]byte{}, file[:2]...)
	b = append(b, 0xff, 0xe1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)+2))
	b = append(b, payload...)
	return append(b, file[2:]...)
}

// WithEXIF gives a JPEG an EXIF record.
func WithEXIF(file []byte, orientation int) []byte { return WithAPP1(file, EXIF(orientation)) }

// WithPNGEXIF gives a PNG an EXIF record and a comment.
func WithPNGEXIF(file []byte, orientation int) []byte {
	const header = 8 + 25
	b := append([]byte{}, file[:header]...)
	b = append(b, chunk("eXIf", EXIF(orientation)[6:])...)
	b = append(b, chunk("tEXt", []byte("Comment\x00"+Secret))...)
	return append(b, file[header:]...)
}

// WithWebPEXIF gives a WebP an EXIF record.
func WithWebPEXIF(file []byte, orientation int) []byte {
	b := append([]byte{}, file...)
	b = append(b, riffChunk("EXIF", EXIF(orientation))...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

func chunk(name string, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	b = append(append(b, name...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func riffChunk(name string, payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(payload)))
	b = append(b, payload...)
	if len(payload)%2 == 1 {
		b = append(b, 0)
	}
	return b
}
