package probe_test

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/image/webp"

	"parley/edge/media/probe"
	"parley/edge/media/sample"
	"parley/internal/spent"
	"parley/proto/code"
)

func look(b []byte) (probe.Result, error) {
	return probe.Probe(bytes.NewReader(b), probe.DefaultLimits())
}

func TestWhatImagesAre(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want probe.Result
	}{
		"jpeg":        {sample.JPEG(t, 64, 48), probe.Result{Format: probe.JPEG, Width: 64, Height: 48, Orientation: 1, Frames: 1, Bytes: 64 * 48 * 3 / 2, Peak: 64 * 48 * 3 / 2}},
		"gray jpeg":   {sample.GrayJPEG(t, 8, 8), probe.Result{Format: probe.JPEG, Width: 8, Height: 8, Orientation: 1, Frames: 1, Bytes: 64, Peak: 64}},
		"turned jpeg": {sample.WithEXIF(sample.JPEG(t, 64, 48), 6), probe.Result{Format: probe.JPEG, Width: 64, Height: 48, Orientation: 6, Frames: 1, Bytes: 64 * 48 * 3 / 2, Peak: 64 * 48 * 3 / 2}},
		"png":         {sample.PNG(t, 5, 7), probe.Result{Format: probe.PNG, Width: 5, Height: 7, Orientation: 1, Frames: 1, Alpha: true, Bytes: 140, Peak: 140}},
		"gif":         {sample.GIF(t, 10, 6, 3), probe.Result{Format: probe.GIF, Width: 10, Height: 6, Orientation: 1, Frames: 3, Alpha: true, Bytes: 180 + 3*8192, Peak: 180 + 3*8192 + 240}},
		"webp":        {sample.WebP(), probe.Result{Format: probe.WebP, Width: 1, Height: 1, Orientation: 1, Frames: 1, Alpha: true, Bytes: 4, Peak: 8}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := look(c.file); err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

// TestOrientation reads every orientation in both byte orders, from all containers.
func TestOrientation(t *testing.T) {
	for o := 1; o <= 8; o++ {
		for _, file := range [][]byte{
			sample.WithEXIF(sample.JPEG(t, 4, 4), o),
			sample.WithPNGEXIF(sample.PNG(t, 4, 4), o),
			sample.WithWebPEXIF(sample.WebP(), o),
		} {
			if got, err := look(file); err != nil || got.Orientation != o {
				t.Errorf("orientation %d read as %+v, %v", o, got, err)
			}
		}
	}
	for name, exif := range map[string][]byte{
		"nonsense":      []byte("Exif\x00\x00nonsense"),
		"out of range":  sample.EXIF(9),
		"cut":           sample.EXIF(6)[:20],
		"far directory": append([]byte("Exif\x00\x00II*\x00"), 0xff, 0xff, 0xff, 0xff),
	} {
		if got, err := look(sample.WithAPP1(sample.JPEG(t, 4, 4), exif)); err != nil || got.Orientation != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestOtherKinds are refused by name: the content decides, never a name or a type.
func TestOtherKinds(t *testing.T) {
	for name, c := range map[string]struct{ file, says string }{
		"empty":    {"", "is empty"},
		"heic":     {"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"},
		"avif":     {"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00", "AVIF"},
		"svg":      {`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`, "SVG"},
		"html":     {"<!doctype html><script>alert(1)</script>", "markup"},
		"pdf":      {"%PDF-1.7\n", "PDF"},
		"bmp":      {"BM\x00\x00\x00\x00\x00\x00\x00\x00", "BMP"},
		"tiff":     {"II*\x00\x08\x00\x00\x00", "TIFF"},
		"wave":     {"RIFF\x24\x00\x00\x00WAVEfmt ", "no image"},
		"text":     {"hello, world, this is a text", "no image"},
		"animated": {string(sample.AnimatedWebP()), "Animated"},
		"lossless": {"\xff\xd8\xff\xc3\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00", "lossless"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := look([]byte(c.file))
			if !code.Has(err, code.UnsupportedMedia) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestCutFiles: wherever a file ends too early, that is said, and nothing else happens.
func TestCutFiles(t *testing.T) {
	for name, whole := range map[string][]byte{
		"jpeg": sample.JPEG(t, 20, 20), "png": sample.PNG(t, 9, 9), "gif": sample.GIF(t, 9, 9, 2), "webp": sample.WebP(),
	} {
		for n := 12; n < len(whole)-1; n++ {
			_, err := look(whole[:n])
			if !code.Has(err, code.ValidationFail) {
				t.Fatalf("%s of %d bytes, cut to %d: %v", name, len(whole), n, err)
			}
		}
	}
}

// TestBombs: what would take memory or time is refused before anything is decoded, within 50 ms of
// processor time and 4 MB.
func TestBombs(t *testing.T) {
	for name, file := range map[string][]byte{
		"png of 50,000 x 50,000":       sample.PNGHeader(50_000, 50_000, 8, 6),
		"png of 2^31-1 pixels a side":  sample.PNGHeader(1<<31-1, 1<<31-1, 8, 6),
		"png of 16 bits, 39 Mpx":       append(sample.PNGHeader(39_000_000/1000, 1000, 16, 6), sample.PNGEnd()...),
		"png with a long side":         sample.PNGHeader(70_000, 1, 8, 6),
		"png of a million parts":       sample.PNGParts(1_000_000),
		"jpeg of 65,535 x 65,535":      sample.JPEGHeader(65_535, 65_535, 1),
		"jpeg of 10,000 passes":        sample.JPEGHeader(4000, 4000, 10_000),
		"gif of 100,000 frames":        sample.GIFFrames(10, 10, 100_000),
		"gif of 400 full frames":       sample.GIFFrames(2000, 2000, 400),
		"gif screen of 65,535 x 65535": sample.GIFFrames(65_535, 65_535, 1),
		"webp canvas of 16,777,216":    sample.WebPCanvas(1<<24, 1<<24),
		"webp of 16,383 x 16,383":      sample.WebPLossy(16_383, 16_383),
		"webp larger than its canvas":  sample.WebPBoth(10, 10, 2000, 2000),
	} {
		t.Run(name, func(t *testing.T) {
			spent.Little(t, name, func() {
				if _, err := look(file); !code.Has(err, code.TooLarge) && !code.Has(err, code.ValidationFail) {
					t.Errorf("not refused: %v", err)
				}
			})
		})
	}
}

// TestStuffedScan: the worst that 15 MiB can make the probe do is look at each byte once.
func TestStuffedScan(t *testing.T) {
	file := sample.JPEGHeader(100, 100, 1)
	file = append(file[:len(file)-2], bytes.Repeat([]byte{0xff, 0}, 7<<20)...)
	file = append(file, 0xff, 0xd9)
	r := &counted{Reader: bytes.NewReader(file)}
	got, err := probe.Probe(r, probe.DefaultLimits())
	if err != nil || got.Width != 100 || r.bytes > len(file) {
		t.Errorf("%+v, %v after %d of %d bytes", got, err, r.bytes, len(file))
	}
}

// counted counts what is read.
type counted struct {
	*bytes.Reader
	bytes int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes += n
	return n, err
}

// TestReaderErrors pass through: they say nothing about the file.
func TestReaderErrors(t *testing.T) {
	whole := sample.JPEG(t, 20, 20)
	r := io.MultiReader(bytes.NewReader(whole[:100]), failing{})
	if _, err := probe.Probe(r, probe.DefaultLimits()); err != errFailing {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

var errFailing = io.ErrClosedPipe

func (failing) Read([]byte) (int, error) { return 0, errFailing }

func TestLimitsAreChecked(t *testing.T) {
	if probe.DefaultLimits().Validate() != nil || (probe.Limits{}).Validate() == nil {
		t.Error("limits are not checked")
	}
	l := probe.DefaultLimits()
	if l.SideMax = 1 << 17; l.Validate() == nil {
		t.Error("a side beyond JPEG's is accepted")
	}
}

// TestAgreesWithDecoders: for good images of random size and colour, the decoders find what the
// probe found.
func TestAgreesWithDecoders(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		w, h := 1+random.IntN(40), 1+random.IntN(40)
		var b bytes.Buffer
		p := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.Black, color.White})
		var err error
		switch random.IntN(4) {
		case 0:
			err = png.Encode(&b, image.NewGray16(p.Rect))
		case 1:
			err = png.Encode(&b, p)
		case 2:
			err = gif.Encode(&b, p, nil)
		case 3:
			err = jpeg.Encode(&b, p, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		agrees(t, b.Bytes())
	}
}

// agrees says that a decoder that takes the image finds the probe's size in it, and no more memory.
func agrees(t *testing.T, file []byte) {
	t.Helper()
	r, err := probe.Probe(bytes.NewReader(file), small())
	if err != nil {
		return
	}
	var img image.Image
	switch r.Format {
	case probe.JPEG:
		img, err = jpeg.Decode(bytes.NewReader(file))
	case probe.PNG:
		img, err = png.Decode(bytes.NewReader(file))
	case probe.WebP:
		img, err = webp.Decode(bytes.NewReader(file))
	case probe.GIF:
		var all *gif.GIF
		if all, err = gif.DecodeAll(bytes.NewReader(file)); err == nil {
			if len(all.Image) != r.Frames || all.Config.Width != r.Width || all.Config.Height != r.Height {
				t.Fatalf("probe: %+v, decoder: %d frames, %+v", r, len(all.Image), all.Config)
			}
			return
		}
	}
	if err == nil && img.Bounds().Size() != (image.Point{X: r.Width, Y: r.Height}) {
		t.Fatalf("probe: %+v, decoder: %v", r, img.Bounds())
	}
}

func small() probe.Limits {
	l := probe.DefaultLimits()
	l.PixelsMax, l.FramesMax, l.ScansMax = 100_000, 20, 10
	return l
}

// FuzzProbe: no input makes the probe panic, read beyond its limits, or pass what a decoder takes
// for something larger.
func FuzzProbe(f *testing.F) {
	for _, seed := range [][]byte{
		sample.JPEG(f, 16, 9), sample.WithEXIF(sample.GrayJPEG(f, 5, 5), 8), sample.PNG(f, 3, 4), sample.GIF(f, 6, 5, 2),
		sample.WebP(), sample.WithWebPEXIF(sample.WebP(), 3), sample.WebPLossy(20, 20), sample.GIFFrames(4, 4, 3),
		sample.PNGHeader(9, 9, 16, 6), sample.JPEGHeader(20, 20, 3),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := probe.Probe(bytes.NewReader(file), small())
		if err != nil {
			if _, coded := code.Of(err); !coded {
				t.Fatalf("an error without a code: %v", err)
			}
			return
		}
		if r.Width < 1 || r.Height < 1 || r.Bytes < 1 || r.Peak < r.Bytes || r.Orientation < 1 || r.Orientation > 8 || r.Frames < 1 {
			t.Fatalf("%+v", r)
		}
		agrees(t, file)
	})
}
