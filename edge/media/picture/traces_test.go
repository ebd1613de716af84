package picture_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"math"
	"testing"

	"pgregory.net/rapid"

	"parley/edge/media/picture"
	"parley/edge/media/sample"
)

// segment is a JPEG segment with the secret in it.
func segment(kind byte, name string) []byte {
	payload := name + sample.Secret
	b := binary.BigEndian.AppendUint16([]byte{0xff, kind}, uint16(len(payload)+2))
	return append(b, payload...)
}

// pngChunk is a PNG chunk with the secret in it.
func pngChunk(kind, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	b = append(append(b, kind...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// gifExtension is a GIF extension block with the secret in it.
func gifExtension(label byte, head string) []byte {
	b := []byte{0x21, label}
	for _, block := range []string{head, sample.Secret} {
		if block != "" {
			b = append(append(b, byte(len(block))), block...)
		}
	}
	return append(b, 0)
}

func insert(file []byte, at int, more []byte) []byte {
	return append(append(bytes.Clone(file[:at]), more...), file[at:]...)
}

// TestNothingButPixelsIsPassedOn: programs and cameras write who, where and with what into many places, and
// what is hidden in a picture reaches nobody from any of them.
func TestNothingButPixelsIsPassedOn(t *testing.T) {
	jpeg, png, gif := sample.JPEG(t, 12, 10), sample.PNG(t, 12, 10), sample.GIF(t, 12, 10, 2)
	const behindIHDR = 8 + 25
	palette := 13
	if gif[10]&0x80 != 0 {
		palette += 3 << (gif[10]&7 + 1)
	}
	for name, file := range map[string][]byte{
		"a JPEG's comment":         insert(jpeg, 2, segment(0xfe, "")),
		"a JPEG's XMP":             insert(jpeg, 2, segment(0xe1, "http://ns.adobe.com/xap/1.0/\x00")),
		"a JPEG's colour profile":  insert(jpeg, 2, segment(0xe2, "ICC_PROFILE\x00\x01\x01")),
		"a JPEG's Photoshop block": insert(jpeg, 2, segment(0xed, "Photoshop 3.0\x00")),
		"what is behind a JPEG":    append(bytes.Clone(jpeg), sample.Secret...),
		"a PNG's text":             insert(png, behindIHDR, pngChunk("tEXt", "Author\x00"+sample.Secret)),
		"a PNG's long text":        insert(png, behindIHDR, pngChunk("iTXt", "XML:com.adobe.xmp\x00\x00\x00\x00\x00"+sample.Secret)),
		"a PNG's unknown chunk":    insert(png, behindIHDR, pngChunk("prVt", sample.Secret)),
		"what is behind a PNG":     append(bytes.Clone(png), sample.Secret...),
		"a GIF's comment":          insert(gif, palette, gifExtension(0xfe, "")),
		"a GIF's XMP":              insert(gif, palette, gifExtension(0xff, "XMP DataXMP")),
		"a GIF's plain text":       insert(gif, palette, gifExtension(0x01, "twelve bytes")),
		"what is behind a GIF":     append(bytes.Clone(gif), sample.Secret...),
		"a WebP's record":          sample.WithWebPEXIF(sample.LossyWebP(), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(file, []byte(sample.Secret)) {
				t.Fatal("the secret is not in the file")
			}
			_, files := render(t, file, usual)
			for i, shown := range files {
				if bytes.Contains(shown, []byte(sample.Secret)) {
					t.Errorf("picture %d tells it", i)
				}
				decode(t, shown)
			}
		})
	}
}

// TestSidesFollowTheRatios, whatever they are: rounded, never below a pixel, and turned as the upload says.
func TestSidesFollowTheRatios(t *testing.T) {
	side := func(n, ratio int) int { return max(1, int(math.Round(float64(n*ratio)/100))) }
	rapid.Check(t, func(rt *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(rt, "w"), rapid.IntRange(1, 40).Draw(rt, "h")
		s := picture.Settings{
			Quality: rapid.IntRange(0, 100).Draw(rt, "quality"),
			Medium:  rapid.IntRange(1, 100).Draw(rt, "medium"), Thumbnail: rapid.IntRange(1, 100).Draw(rt, "thumbnail"),
		}
		orientation := rapid.IntRange(1, 8).Draw(rt, "orientation")
		done, files := render(t, sample.WithEXIF(sample.JPEG(t, w, h), orientation), s)
		if orientation > 4 {
			w, h = h, w
		}
		for i, ratio := range []int{100, s.Medium, s.Thumbnail} {
			want := image.Point{X: side(w, ratio), Y: side(h, ratio)}
			m, _ := decode(t, files[i])
			if m.Bounds().Size() != want || (image.Point{X: done[i].Width, Y: done[i].Height}) != want {
				rt.Fatalf("picture %d is %v and said to be %+v, want %v", i, m.Bounds().Size(), done[i], want)
			}
		}
	})
}
