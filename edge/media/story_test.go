package media_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/edge/media"
	"parley/edge/media/sample"
)

// TestImage is what a client does with an image: upload, show, delete.
func TestImage(t *testing.T) {
	w := newWorld(t, settings{})
	ann, bob := w.as("ann"), w.as("bob")
	a := w.upload(ann, sample.WithEXIF(sample.JPEG(t, 200, 100), 6),
		field{"quality_ratio", "90"}, field{"medium_size_ratio", "40"}, field{"thumbnail_size_ratio", "10"}, field{"unknown", "x"})
	exactly(t, a.want(200).raw)
	up := a.image()
	for i, p := range []struct {
		url, id, kind string
		size          int
		bounds        image.Point
	}{
		{up.Original.URL, up.Original.ID, up.Original.Type, up.Original.Size, image.Pt(100, 200)},
		{up.Medium.URL, up.Medium.ID, up.Medium.Type, up.Medium.Size, image.Pt(40, 80)},
		{up.Thumbnail.URL, up.Thumbnail.ID, up.Thumbnail.Type, up.Thumbnail.Size, image.Pt(10, 20)},
	} {
		if p.url != w.url+"/v1/image/"+p.id || p.kind != []string{"ORIGINAL", "MEDIUM", "THUMBNAIL"}[i] {
			t.Errorf("picture %d: %+v", i, p)
		}
		for _, who := range []string{ann, bob, w.admin()} {
			got := w.call("GET", p.url, who).want(200)
			m, format, err := image.Decode(bytes.NewReader(got.raw))
			if err != nil || format != "jpeg" || m.Bounds().Size() != p.bounds || len(got.raw) != p.size {
				t.Errorf("picture %d: %s, %v, %d bytes", i, format, err, len(got.raw))
			}
			if bytes.Contains(got.raw, []byte(sample.Secret)) {
				t.Errorf("picture %d tells where it was taken", i)
			}
		}
	}
	w.call("DELETE", up.Thumbnail.URL, bob).refused(403, "system:error:permission")
	for range 2 {
		w.call("DELETE", up.Medium.URL, ann).want(204)
	}
	for _, url := range append(up.urls(), w.url+"/v1/image/"+up.ID) {
		w.call("GET", url, ann).refused(404, "http:error:not-found")
	}
	w.call("DELETE", up.Original.URL, w.admin()).want(204)
	w.call("DELETE", up.Original.URL, bob).refused(404, "http:error:not-found")
	if strings.Contains(w.log.String(), ann) || strings.Contains(w.log.String(), "panic") {
		t.Error("the log has a token, or a panic")
	}
}

// exactly says that the answer has the members that the SDKs know, and no others.
func exactly(t *testing.T, raw []byte) {
	t.Helper()
	var got map[string]any
	must(t, json.Unmarshal(raw, &got))
	for _, kind := range []string{"original", "medium", "thumbnail"} {
		p, _ := got[kind].(map[string]any)
		for name, example := range map[string]any{"url": "", "id": "", "type": "", "size": 1.0} {
			if fmt.Sprintf("%T", p[name]) != fmt.Sprintf("%T", example) {
				t.Errorf("%s.%s is %v", kind, name, p[name])
			}
		}
		if len(p) != 4 || strings.Contains(fmt.Sprint(p["size"]), ".") {
			t.Errorf("%s is %v", kind, p)
		}
	}
	if _, ok := got["id"].(string); !ok || len(got) != 4 {
		t.Errorf("answer is %s", raw)
	}
}

// TestHowItIsShown: the type is what the picture is, and a browser never takes it for a page.
func TestHowItIsShown(t *testing.T) {
	w := newWorld(t, settings{})
	for name, c := range map[string]struct {
		file  []byte
		types []string
	}{
		"jpeg": {sample.JPEG(t, 9, 9), []string{"image/jpeg", "image/jpeg", "image/jpeg"}},
		"png":  {sample.PNG(t, 9, 9), []string{"image/png", "image/png", "image/png"}},
		"gif":  {sample.GIF(t, 9, 9, 2), []string{"image/gif", "image/png", "image/png"}},
		"webp": {sample.LossyWebP(), []string{"image/jpeg", "image/jpeg", "image/jpeg"}},
	} {
		up := w.upload(w.admin(), c.file).image()
		for i, url := range up.urls() {
			got := w.call("GET", url, w.as("bob")).want(200)
			for header, want := range map[string]string{
				"Content-Type": c.types[i], "X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache",
				"Content-Security-Policy": "default-src 'none'; sandbox", "Content-Length": fmt.Sprint(len(got.raw)),
			} {
				if got.header.Get(header) != want {
					t.Errorf("%s, picture %d: %s is %q, not %q", name, i, header, got.header.Get(header), want)
				}
			}
			if d := got.header.Get("Content-Disposition"); !strings.HasPrefix(d, `attachment; filename="`+up.ID) {
				t.Errorf("disposition is %q", d)
			}
			tag := got.header.Get("ETag")
			again := w.do(request{method: "GET", path: url, token: w.as("bob"), header: map[string]string{"If-None-Match": `"x", W/` + tag}})
			if again.want(304); len(again.raw) > 0 || again.header.Get("ETag") != tag {
				t.Errorf("not modified: %d bytes", len(again.raw))
			}
			head := w.call("HEAD", url, w.as("bob")).want(200)
			if head.header.Get("Content-Length") != fmt.Sprint(len(got.raw)) || head.header.Get("Content-Type") != c.types[i] {
				t.Errorf("HEAD tells %v", head.header)
			}
		}
		whole := w.call("GET", "/v1/image/"+up.ID, w.as("bob")).want(200)
		if len(whole.raw) != up.Original.Size {
			t.Errorf("the image's own id gives %d bytes", len(whole.raw))
		}
	}
}

// noise is a picture that does not compress: its blobs have many chunks.
func noise(t *testing.T, side int, seed uint64) ([]byte, *image.NRGBA) {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	random := rand.New(rand.NewPCG(seed, 1))
	for i := range m.Pix {
		m.Pix[i] = uint8(random.Uint32()) | 1
	}
	var b bytes.Buffer
	must(t, png.Encode(&b, m))
	return b.Bytes(), m
}

// TestManyChunksAndRestart: a large picture comes back as it was, also from a node that starts
// again, byte for byte.
func TestManyChunksAndRestart(t *testing.T) {
	fs := vfs.NewMem()
	w := newWorld(t, settings{fs: fs})
	file, want := noise(t, 700, 7)
	up := w.upload(w.as("ann"), file).image()
	if up.Original.Size < 5*240<<10 {
		t.Fatalf("%d bytes are not many chunks", up.Original.Size)
	}
	before := w.call("GET", up.Original.URL, w.as("ann")).want(200).raw
	w.stop()

	again := newWorld(t, settings{fs: fs, app: w.app})
	got := again.call("GET", "/v1/image/"+up.Original.ID, again.as("bob")).want(200)
	if !bytes.Equal(got.raw, before) {
		t.Fatalf("%d bytes before, %d after the restart", len(before), len(got.raw))
	}
	m, err := png.Decode(bytes.NewReader(got.raw))
	must(t, err)
	for i := range want.Pix {
		if x, y := i/4%700, i/4/700; m.At(x, y) != want.At(x, y) {
			t.Fatalf("pixel %d,%d changed", x, y)
		}
	}
}

// TestRepeatedUpload: with a key an upload happens once for its sender; without one it is a new image
// every time, which does not disturb the first when it goes.
func TestRepeatedUpload(t *testing.T) {
	w := newWorld(t, settings{})
	post := func(token, key string, file []byte) uploaded {
		kind, body := form(t, field{"file", string(file)})
		return w.do(request{method: "POST", path: "/v1/image", token: token, kind: kind, body: body, header: map[string]string{"Idempotency-Key": key}}).image()
	}
	one, other := sample.PNG(t, 20, 20), sample.PNG(t, 30, 30)
	first := post(w.as("ann"), "k", one)
	if again := post(w.as("ann"), "k", other); again != first {
		t.Errorf("repeated: %+v", again)
	}
	if bobs := post(w.as("bob"), "k", one); bobs.ID == first.ID {
		t.Error("two senders share a key")
	}
	second := w.upload(w.as("ann"), one).image()
	w.call("DELETE", first.Original.URL, w.as("ann")).want(204)
	if second.ID == first.ID {
		t.Fatal("two uploads are one image")
	}
	for _, url := range second.urls() {
		w.call("GET", url, w.as("ann")).want(200)
	}
	kind, body := form(t, field{"file", string(one)})
	gone := w.do(request{method: "POST", path: "/v1/image", token: w.as("ann"), kind: kind, body: body, header: map[string]string{"Idempotency-Key": "k"}})
	gone.refused(409, "system:error:idempotency-conflict")
}

// TestManyAtOnce: uploads of several senders with the same and with other content, in less memory
// than they need together.
func TestManyAtOnce(t *testing.T) {
	spool := t.TempDir()
	w := newWorld(t, settings{options: func(o *media.Options) { o.MemoryBytesMax, o.DecodesMax, o.SpoolDir = 8<<20, 2, spool }})
	tokens := []string{w.as("ann"), w.as("bob"), w.admin()}
	files := [][]byte{sample.JPEG(t, 400, 300), sample.PNG(t, 300, 300)}
	big, _ := noise(t, 400, 3)
	files = append(files, big)
	var group sync.WaitGroup
	for i := range 18 {
		group.Go(func() {
			kind, body := form(t, field{"file", string(files[i%len(files)])})
			in, err := w.send(request{method: "POST", path: "/v1/image", token: tokens[i/6], kind: kind, body: body})
			if err != nil {
				t.Error(err)
				return
			}
			defer in.Body.Close()
			var up uploaded
			if err := json.NewDecoder(in.Body).Decode(&up); err != nil || in.StatusCode != 200 {
				t.Errorf("%v: status %d", err, in.StatusCode)
				return
			}
			shown, err := w.send(request{method: "GET", path: up.Original.URL, token: tokens[0]})
			if err != nil || shown.StatusCode != 200 || int(shown.ContentLength) != up.Original.Size {
				t.Errorf("shown: %v", err)
				return
			}
			shown.Body.Close()
		})
	}
	group.Wait()
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("%d files are left over: %v", len(left), err)
	}
}
