package probe_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"parley/edge/media/probe"
	"parley/edge/media/sample"
	"parley/proto/code"
)

// jpegOf is a JPEG made of these parts.
func jpegOf(parts ...string) []byte { return []byte("\xff\xd8" + strings.Join(parts, "")) }

// Parts of a JPEG of 8 x 8 pixels in gray.
const (
	jpegFrame = "\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00"
	jpegScan  = "\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00"
	jpegEnd   = "\xff\xd9"
)

// pngOf is a PNG made of these chunks: a name and a payload each.
func pngOf(chunks ...string) []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	for _, c := range chunks {
		b = binary.BigEndian.AppendUint32(b, uint32(len(c)-4))
		b = binary.BigEndian.AppendUint32(append(b, c...), crc32.ChecksumIEEE([]byte(c)))
	}
	return b
}

// pngSize is the header of a PNG of one pixel; its kind is the bit depth and the colour type.
func pngSize(kind string) string {
	return "IHDR\x00\x00\x00\x01\x00\x00\x00\x01" + kind + "\x00\x00\x00"
}

// webpOf is a WebP made of these chunks: a name and a payload of an even length each.
func webpOf(chunks ...string) []byte {
	body := []byte("WEBP")
	for _, c := range chunks {
		body = append(body, c[:4]...)
		body = append(binary.LittleEndian.AppendUint32(body, uint32(len(c)-4)), c[4:]...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

// Chunks of a WebP of one pixel.
const (
	webpLossy    = "VP8 \x00\x00\x00\x9d\x01\x2a\x01\x00\x01\x00"
	webpLossless = "VP8L\x2f\x00\x00\x00\x00\x00"
	webpExtended = "VP8X\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

const gifScreen = "GIF89a\x02\x00\x02\x00\x00\x00\x00"

// TestBrokenStructures: whoever sent it hears what is wrong with a file, and where a decoder would have had
// to guess it is not asked.
func TestBrokenStructures(t *testing.T) {
	for _, c := range []struct {
		says string
		file []byte
	}{
		{"it has no picture", jpegOf(jpegFrame, jpegEnd)},
		{"it begins twice", jpegOf(jpegFrame, "\xff\xd8")},
		{"a part does not begin where it should", jpegOf("\xff\xe0\x00\x02x")},
		{"a part has no name", jpegOf("\xff\xff\x00")},
		{"a part has a negative length", jpegOf("\xff\xe0\x00\x01")},
		{"its header is too short", jpegOf("\xff\xc0\x00\x07\x08\x00\x08\x00\x08")},
		{"it has 2 components", jpegOf("\xff\xc0\x00\x0e\x08\x00\x08\x00\x08\x02\x01\x11\x00\x02\x11\x00")},
		{"its sampling factors are out of range", jpegOf("\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x51\x00")},
		{"its picture comes before its size", jpegOf(jpegScan)},
		{"it says its size twice", jpegOf(jpegFrame, jpegFrame)},
		{"it has no pixels", jpegOf(strings.Replace(jpegFrame, "\x00\x08\x00\x08", "\x00\x00\x00\x08", 1))},
		{"its header is missing or comes twice", pngOf("IDAT", "IEND")},
		{"its header is missing or comes twice", pngOf(pngSize("\x08\x06"), pngSize("\x08\x06"))},
		{"its header has a wrong length", pngOf("IHDR\x00\x00\x00\x01", "IEND")},
		{"its size is out of range", pngOf("IHDR\x80\x00\x00\x00\x00\x00\x00\x01\x08\x06\x00\x00\x00")},
		{"its colour type is unknown", pngOf(pngSize("\x08\x05"))},
		{"a part is too long", append(pngOf(pngSize("\x08\x06")), "\x80\x00\x00\x00tEXt"...)},
		{"it has no picture", []byte(gifScreen + "\x3b")},
		{"a part has an unknown kind", []byte(gifScreen + "\x11")},
		{"a frame is larger than the picture", []byte(gifScreen + "\x2c\x01\x00\x00\x00\x02\x00\x02\x00\x00")},
		{"its header has a wrong length or place", webpOf(webpLossy, webpExtended)},
		{"its header has a wrong length or place", webpOf(webpExtended, webpExtended)},
		{"its picture has no key frame", webpOf("VP8 \x01\x00\x00\x9d\x01\x2a\x01\x00\x01\x00")},
		{"its picture has an unknown version", webpOf("VP8L\x2f\x00\x00\x00\xe0\x00")},
		{"it ends too early", webpOf("VP8L\x2f\x00")},
		{"it ends too early", webpOf("VP8 \x00\x00")},
		{"it says two different sizes", webpOf("VP8X\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00", webpLossy)},
		{"it says its size twice", webpOf(webpLossy, webpLossless)},
		{"it has no size", webpOf("ICCPxx")},
		{"a part is longer than the file", append(webpOf(webpLossy)[:16], "\xff\xff\xff\x00"...)},
		{"Animated WebP is not supported", webpOf("ANIM\x00\x00")},
		{"Animated WebP is not supported; send it as ", webpOf(webpExtended, "ANMF\x00\x00")},
		{"consists of more than", jpegOf(strings.Repeat("\xff\x01", 1<<17))},
		{"(lossless or arithmetic) is not supported", jpegOf(strings.Replace(jpegFrame, "\xff\xc0", "\xff\xc9", 1))},
		{"is coded in more than", jpegOf(jpegFrame, strings.Repeat(jpegScan, 2000), jpegEnd)},
		{"this file is a video or another file of its", []byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00")},
		{"this file is no image of these kinds", []byte("RIFF\x00\x00\x00\x00WAVEfmt ")},
		{"no side may have more than", pngOf("IHDR\x00\x01\x11\x70\x00\x00\x00\x01\x08\x06\x00\x00\x00")},
		{"has more than 40000000 pixels", pngOf("IHDR\x00\x00\xff\xff\x00\x00\xff\xff\x08\x06\x00\x00\x00")},
	} {
		t.Run(c.says, func(t *testing.T) {
			_, err := look(c.file)
			e, coded := code.Of(err)
			if !coded || !strings.Contains(fmt.Sprint(e.Message, e.Fields), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestOddButWhole: what is unusual and allowed is taken for what it is.
func TestOddButWhole(t *testing.T) {
	exif := func(o int) string {
		r := sample.EXIF(o)
		return string(append(binary.BigEndian.AppendUint16([]byte("\xff\xe1"), uint16(len(r)+2)), r...))
	}
	for name, c := range map[string]struct {
		file []byte
		want func(probe.Result) bool
	}{
		"filled and restarted": {jpegOf("\xff\xff\xff\xfe\x00\x02\xff\xd0\xff\x01", jpegFrame, jpegScan, "a\xff\x00b\xff\xd3c\xff", jpegEnd),
			func(r probe.Result) bool { return r.Width == 8 && r.Height == 8 }},
		"two records": {jpegOf(exif(6), exif(3), jpegFrame, jpegScan, jpegEnd),
			func(r probe.Result) bool { return r.Orientation == 6 && r.Turned() }},
		"another program's record": {jpegOf("\xff\xe1\x00\x08Exif\x00x", jpegFrame, jpegScan, jpegEnd),
			func(r probe.Result) bool { return r.Orientation == 1 && !r.Turned() }},
		"a record too short to say anything": {jpegOf("\xff\xe1\x00\x0aExif\x00\x00II", jpegFrame, jpegScan, jpegEnd),
			func(r probe.Result) bool { return r.Orientation == 1 }},
		"transparent by palette": {pngOf(pngSize("\x08\x03"), "PLTE\x00\x00\x00", "tRNS\x00", "IDAT", "IEND"),
			func(r probe.Result) bool { return r.Alpha && r.Bytes == 1 }},
		"lossy with transparency": {webpOf(webpExtended, "ALPH\x00\x00", webpLossy),
			func(r probe.Result) bool { return r.Alpha }},
		"large comment": {pngOf(pngSize("\x08\x06"), "eXIf"+strings.Repeat("x", 70<<10), "IDAT", "IEND"),
			func(r probe.Result) bool { return r.Orientation == 1 && r.Width == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := probe.Probe(bytes.NewReader(c.file), probe.DefaultLimits()); err != nil || !c.want(got) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
