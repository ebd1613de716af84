package picture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"io"
	"math/rand/v2"
	"testing"

	_ "image/jpeg"
	_ "image/png"

	"pgregory.net/rapid"

	"parley/edge/media/picture"
	"parley/edge/media/probe"
	"parley/edge/media/sample"
	"parley/proto/code"
)

var usual = picture.Settings{Quality: 100, Medium: 50, Thumbnail: 30}

// render does all that an upload goes through, and gives the three files.
func render(t *testing.T, file []byte, s picture.Settings) ([picture.Kinds]picture.Picture, [picture.Kinds][]byte) {
	t.Helper()
	p, err := probe.Probe(bytes.NewReader(file), probe.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var b [picture.Kinds]bytes.Buffer
	done, err := picture.Render(t.Context(), bytes.NewReader(file), p, s, [picture.Kinds]io.Writer{&b[0], &b[1], &b[2]})
	if err != nil {
		t.Fatal(err)
	}
	return done, [picture.Kinds][]byte{b[0].Bytes(), b[1].Bytes(), b[2].Bytes()}
}

func decode(t *testing.T, file []byte) (image.Image, string) {
	t.Helper()
	m, format, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return m, format
}

// TestKindsAndSizes: JPEG stays JPEG, nothing falls below one pixel, and no secret survives.
func TestKindsAndSizes(t *testing.T) {
	const j, p, g = picture.TypeJPEG, picture.TypePNG, picture.TypeGIF
	for name, c := range map[string]struct {
		file  []byte
		s     picture.Settings
		types [3]string
		sizes [3]image.Point
	}{
		"jpeg":            {sample.JPEG(t, 100, 60), usual, [3]string{j, j, j}, [3]image.Point{{X: 100, Y: 60}, {X: 50, Y: 30}, {X: 30, Y: 18}}},
		"jpeg, turned":    {sample.WithEXIF(sample.JPEG(t, 100, 60), 6), usual, [3]string{j, j, j}, [3]image.Point{{X: 60, Y: 100}, {X: 30, Y: 50}, {X: 18, Y: 30}}},
		"gray, worst":     {sample.GrayJPEG(t, 9, 9), picture.Settings{Medium: 1, Thumbnail: 100}, [3]string{j, j, j}, [3]image.Point{{X: 9, Y: 9}, {X: 1, Y: 1}, {X: 9, Y: 9}}},
		"png":             {sample.WithPNGEXIF(sample.PNG(t, 3, 2), 1), usual, [3]string{p, p, p}, [3]image.Point{{X: 3, Y: 2}, {X: 2, Y: 1}, {X: 1, Y: 1}}},
		"one pixel":       {sample.PNG(t, 1, 1), picture.Settings{Medium: 1, Thumbnail: 1}, [3]string{p, p, p}, [3]image.Point{{X: 1, Y: 1}, {X: 1, Y: 1}, {X: 1, Y: 1}}},
		"a line":          {sample.PNG(t, 4000, 1), usual, [3]string{p, p, p}, [3]image.Point{{X: 4000, Y: 1}, {X: 2000, Y: 1}, {X: 1200, Y: 1}}},
		"gif":             {sample.GIF(t, 10, 8, 4), usual, [3]string{g, p, p}, [3]image.Point{{X: 10, Y: 8}, {X: 5, Y: 4}, {X: 3, Y: 2}}},
		"webp, lossless":  {sample.WithWebPEXIF(sample.WebP(), 1), usual, [3]string{p, p, p}, [3]image.Point{{X: 1, Y: 1}, {X: 1, Y: 1}, {X: 1, Y: 1}}},
		"webp, lossy":     {sample.LossyWebP(), usual, [3]string{j, j, j}, [3]image.Point{{X: 1, Y: 1}, {X: 1, Y: 1}, {X: 1, Y: 1}}},
		"jpeg and a page": {append(sample.JPEG(t, 8, 8), "<script>"+sample.Secret+"</script>"...), usual, [3]string{j, j, j}, [3]image.Point{{X: 8, Y: 8}, {X: 4, Y: 4}, {X: 2, Y: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			done, files := render(t, c.file, c.s)
			for i, file := range files {
				m, format := decode(t, file)
				if done[i].Type != c.types[i] || "image/"+format != c.types[i] {
					t.Errorf("picture %d is said to be %s, and is %s", i, done[i].Type, format)
				}
				if m.Bounds().Size() != c.sizes[i] || (image.Point{X: done[i].Width, Y: done[i].Height}) != c.sizes[i] {
					t.Errorf("picture %d has %v, said %+v, want %v", i, m.Bounds(), done[i], c.sizes[i])
				}
				if bytes.Contains(file, []byte(sample.Secret)) || bytes.Contains(file, []byte("Exif")) {
					t.Errorf("picture %d keeps metadata", i)
				}
			}
		})
	}
}

// TestUpright: whatever way the camera was held, red is at the top left in the end.
func TestUpright(t *testing.T) {
	upright := image.NewNRGBA(image.Rect(0, 0, 16, 8))
	draw.Draw(upright, upright.Rect, sample.Scene(16, 8, 255), image.Point{}, draw.Src)
	for o := 1; o <= 8; o++ {
		for _, lossless := range []bool{false, true} {
			stored := turnBack(upright, o)
			var src image.Image = stored
			if !lossless { // the path of opaque sources
				gray := image.NewGray(stored.Rect)
				draw.Draw(gray, gray.Rect, stored, image.Point{}, draw.Src)
				src = gray
			}
			got, err := picture.Upright(t.Context(), src, o)
			if err != nil || got.Bounds() != upright.Rect {
				t.Fatalf("orientation %d: %v, %v", o, got.Bounds(), err)
			}
			for i := range 8 * 16 {
				x, y := i%16, i/16
				want := upright.At(x, y)
				if !lossless {
					want = color.GrayModel.Convert(want)
				}
				if !same(got.At(x, y), want) {
					t.Fatalf("orientation %d: at %d,%d is %v, want %v", o, x, y, got.At(x, y), want)
				}
			}
		}
	}
}

func same(a, b color.Color) bool {
	ar, ag, ab, aa := a.RGBA()
	br, bg, bb, ba := b.RGBA()
	return ar == br && ag == bg && ab == bb && aa == ba
}

// turnBack is the oracle, after the definition of the EXIF values: where the stored row and column
// 0 are in the upright picture.
func turnBack(upright *image.NRGBA, o int) *image.NRGBA {
	w, h := upright.Rect.Dx(), upright.Rect.Dy()
	sw, sh := w, h
	if o >= 5 {
		sw, sh = h, w
	}
	stored := image.NewNRGBA(image.Rect(0, 0, sw, sh))
	for sy := range sh {
		for sx := range sw {
			x, y := sx, sy
			switch o {
			case 2: // row top, column right
				x = w - 1 - sx
			case 3: // bottom, right
				x, y = w-1-sx, h-1-sy
			case 4: // bottom, left
				y = h - 1 - sy
			case 5: // left, top
				x, y = sy, sx
			case 6: // right, top
				x, y = w-1-sy, sx
			case 7: // right, bottom
				x, y = w-1-sy, h-1-sx
			case 8: // left, bottom
				x, y = sy, h-1-sx
			}
			stored.Set(sx, sy, upright.At(x, y))
		}
	}
	return stored
}

// TestShrinkIsTheAverage compares with the definition, in real numbers.
func TestShrinkIsTheAverage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 23).Draw(t, "w"), rapid.IntRange(1, 23).Draw(t, "h")
		nw, nh := rapid.IntRange(1, w).Draw(t, "nw"), rapid.IntRange(1, h).Draw(t, "nh")
		src := image.NewRGBA(image.Rect(3, 5, 3+w, 5+h)) // not at the origin
		random := rand.New(rand.NewPCG(uint64(w), uint64(h)))
		for i := range src.Pix {
			src.Pix[i] = uint8(random.Uint32())
		}
		for i := 3; i < len(src.Pix); i += 4 {
			src.Pix[i] = 255
		}
		got, err := picture.Shrink(context.Background(), src, nw, nh)
		if err != nil {
			t.Fatal(err)
		}
		for y := range nh {
			for x := range nw {
				r, _, _, _ := got.At(got.Bounds().Min.X+x, got.Bounds().Min.Y+y).RGBA()
				if want := average(src, x, y, nw, nh); int(r>>8) < int(want-0.51) || float64(r>>8) > want+0.51 {
					t.Fatalf("%dx%d to %dx%d: at %d,%d is %d, want %f", w, h, nw, nh, x, y, r>>8, want)
				}
			}
		}
	})
}

func average(src *image.RGBA, x, y, nw, nh int) float64 {
	w, h := float64(src.Rect.Dx()), float64(src.Rect.Dy())
	x0, x1 := float64(x)*w/float64(nw), float64(x+1)*w/float64(nw)
	y0, y1 := float64(y)*h/float64(nh), float64(y+1)*h/float64(nh)
	sum := 0.0
	for sy := range src.Rect.Dy() {
		for sx := range src.Rect.Dx() {
			dx := min(x1, float64(sx+1)) - max(x0, float64(sx))
			dy := min(y1, float64(sy+1)) - max(y0, float64(sy))
			if dx > 0 && dy > 0 {
				sum += dx * dy * float64(src.RGBAAt(src.Rect.Min.X+sx, src.Rect.Min.Y+sy).R)
			}
		}
	}
	return sum / ((x1 - x0) * (y1 - y0))
}

// TestTransparencyStays in the kinds that have it.
func TestTransparencyStays(t *testing.T) {
	_, files := render(t, sample.PNG(t, 40, 40), usual)
	for i, file := range files {
		m, _ := decode(t, file)
		b := m.Bounds()
		if _, _, _, a := m.At(b.Max.X-1, b.Max.Y-1).RGBA(); a != 0 {
			t.Errorf("picture %d: alpha %d in the transparent corner", i, a)
		}
		if r, _, _, a := m.At(0, 0).RGBA(); a != 0xffff || r < 0xf000 {
			t.Errorf("picture %d: the red corner is %v", i, m.At(0, 0))
		}
	}
}

// TestAnimationStays: frames, delays and repetitions of a GIF are kept in the original.
func TestAnimationStays(t *testing.T) {
	_, files := render(t, sample.GIF(t, 12, 10, 5), usual)
	all, err := gif.DecodeAll(bytes.NewReader(files[0]))
	if err != nil || len(all.Image) != 5 || all.Delay[4] != 7 || all.LoopCount != 3 {
		t.Fatalf("%v: %d frames", err, len(all.Image))
	}
}

// TestTheFirstFrameStandsOnItsScreen: the smaller pictures of an animation show the first frame in its place,
// and nothing where it is not.
func TestTheFirstFrameStandsOnItsScreen(t *testing.T) {
	frame := image.NewPaletted(image.Rect(10, 10, 20, 20), color.Palette{color.RGBA{R: 255, A: 255}})
	var file bytes.Buffer
	all := &gif.GIF{Image: []*image.Paletted{frame}, Delay: []int{1}, Config: image.Config{Width: 20, Height: 20}}
	if err := gif.EncodeAll(&file, all); err != nil {
		t.Fatal(err)
	}
	_, files := render(t, file.Bytes(), usual)
	for i, side := range []int{10, 6} {
		m, _ := decode(t, files[i+1])
		if m.Bounds().Dx() != side || m.Bounds().Dy() != side {
			t.Fatalf("picture %d is %v", i+1, m.Bounds())
		}
		if _, _, _, a := m.At(1, 1).RGBA(); a != 0 {
			t.Errorf("picture %d: alpha %d where there is no frame", i+1, a)
		}
		if r, _, _, a := m.At(side-1, side-1).RGBA(); r != 0xffff || a != 0xffff {
			t.Errorf("picture %d: the frame is %v", i+1, m.At(side-1, side-1))
		}
	}
}

// TestQuality: less of it makes a JPEG smaller.
func TestQuality(t *testing.T) {
	file := sample.JPEG(t, 200, 200)
	_, best := render(t, file, usual)
	low := usual
	low.Quality = 0
	_, worst := render(t, file, low)
	if len(worst[0])*2 > len(best[0]) {
		t.Errorf("quality 0 takes %d bytes, 100 takes %d", len(worst[0]), len(best[0]))
	}
}

// TestUndecodable: what the probe passed and the decoder does not take is the uploader's fault.
func TestUndecodable(t *testing.T) {
	damaged := sample.PNG(t, 20, 20)
	damaged[len(damaged)-20] ^= 0xff
	for name, file := range map[string][]byte{"png": damaged, "webp": sample.WebPLossy(8, 8), "jpeg": sample.JPEGHeader(8, 8, 1)} {
		p, err := probe.Probe(bytes.NewReader(file), probe.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		_, err = picture.Render(t.Context(), bytes.NewReader(file), p, usual, [3]io.Writer{io.Discard, io.Discard, io.Discard})
		if !code.Has(err, code.ValidationFail) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStops: an ended context ends the work at each of its stages, and a reader's own error and a
// full disk are not taken for a broken image.
func TestStops(t *testing.T) {
	file := sample.JPEG(t, 300, 300)
	p, err := probe.Probe(bytes.NewReader(file), probe.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	to := [3]io.Writer{io.Discard, io.Discard, io.Discard}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := picture.Render(ended, bytes.NewReader(file), p, usual, to); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before: %v", err)
	}
	for stage := range 2 { // after the last one there is nothing to stop
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		to := to
		to[stage] = writer(func() error { cancel(); return nil })
		if _, err := picture.Render(ctx, bytes.NewReader(file), p, usual, to); !errors.Is(err, context.Canceled) {
			t.Errorf("ended in picture %d: %v", stage, err)
		}
	}
	full := errors.New("disk full")
	to[1] = writer(func() error { return full })
	if _, err := picture.Render(t.Context(), bytes.NewReader(file), p, usual, to); !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
	cut := io.MultiReader(bytes.NewReader(file[:400]), failing{full})
	if _, err := picture.Render(t.Context(), cut, p, usual, to); !errors.Is(err, full) {
		t.Errorf("a failing disk: %v", err)
	}
}

type writer func() error

func (w writer) Write(b []byte) (int, error) { return len(b), w() }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestMemoryCoversTheWork(t *testing.T) {
	p := probe.Result{Width: 1000, Height: 1000, Orientation: 6, Bytes: 3_000_000, Peak: 15_000_000}
	if got := picture.Memory(p, usual); got != 15_000_000 {
		t.Errorf("decoding decides: %d", got)
	}
	p.Peak = p.Bytes
	if got := picture.Memory(p, usual); got != 3_000_000+4_000_000+1_000_000+360_000 {
		t.Errorf("the pictures decide: %d", got)
	}
}

func BenchmarkRender(b *testing.B) {
	file := sample.JPEG(b, 4000, 3000)
	for _, o := range []int{1, 6} {
		b.Run(fmt.Sprint("12 Mpx, orientation ", o), func(b *testing.B) {
			p, err := probe.Probe(bytes.NewReader(file), probe.DefaultLimits())
			if err != nil {
				b.Fatal(err)
			}
			p.Orientation = o
			b.ReportAllocs()
			for b.Loop() {
				if _, err := picture.Render(b.Context(), bytes.NewReader(file), p, usual, [3]io.Writer{io.Discard, io.Discard, io.Discard}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
