package media_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"parley/edge/media/objects"
	"parley/edge/media/sample"
)

const bucket = "images"

// s3World is a world whose pictures are in an object store behind a real HTTP server.
func s3World(t *testing.T) (*world, *s3mem.Backend) {
	t.Helper()
	return s3WorldBehind(t, settings{}, func(h http.Handler) http.Handler { return h })
}

// s3WorldBehind is the same with something in front of the store.
func s3WorldBehind(t *testing.T, s settings, front func(http.Handler) http.Handler) (*world, *s3mem.Backend) {
	t.Helper()
	backend := s3mem.New()
	must(t, backend.CreateBucket(bucket))
	server := httptest.NewServer(front(gofakes3.New(backend).Server()))
	o := objects.DefaultOptions()
	o.Endpoint, o.Bucket, o.AccessKey, o.SecretKey = server.URL, bucket, "key", "secret"
	o.Attempts = 1
	store, err := objects.New(o)
	must(t, err)
	t.Cleanup(func() {
		must(t, store.Close())
		server.Close()
	})
	s.objects = store
	return newWorld(t, s), backend
}

func keysIn(t *testing.T, b *s3mem.Backend) (keys []string) {
	t.Helper()
	list, err := b.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
	must(t, err)
	for _, c := range list.Contents {
		keys = append(keys, c.Key)
	}
	return keys
}

// TestObjectStore: the same service, with the bytes elsewhere; what is stored once is stored once.
func TestObjectStore(t *testing.T) {
	w, backend := s3World(t)
	file, _ := noise(t, 300, 5)
	up := w.upload(w.as("ann"), file).image()
	for _, key := range keysIn(t, backend) {
		if !strings.HasPrefix(key, "parley/"+w.app+"/") || !strings.HasSuffix(key, ".1") {
			t.Errorf("an object is called %s", key)
		}
	}
	if n := len(keysIn(t, backend)); n != 3 {
		t.Errorf("%d objects for three pictures", n)
	}
	got := w.call("GET", up.Original.URL, w.as("bob")).want(200)
	if len(got.raw) != up.Original.Size {
		t.Errorf("%d bytes of %d", len(got.raw), up.Original.Size)
	}
	again := w.upload(w.as("bob"), file).image()
	if n := len(keysIn(t, backend)); n != 3 {
		t.Errorf("%d objects for the same pictures", n)
	}
	w.call("DELETE", up.Original.URL, w.as("ann")).want(204)
	w.call("GET", again.Medium.URL, w.as("ann")).want(200)
}

// TestDamagedObject: bytes that are not those of their name are never shown as a whole picture.
func TestDamagedObject(t *testing.T) {
	w, backend := s3World(t)
	small := w.upload(w.as("ann"), sample.PNG(t, 30, 30)).image()
	file, _ := noise(t, 400, 6)
	large := w.upload(w.as("ann"), file).image()
	for _, key := range keysIn(t, backend) {
		o, err := backend.GetObject(bucket, key, nil)
		must(t, err)
		raw, err := io.ReadAll(o.Contents)
		must(t, err)
		raw[len(raw)-5] ^= 1
		_, err = backend.PutObject(bucket, key, map[string]string{}, bytes.NewReader(raw), int64(len(raw)), nil)
		must(t, err)
	}
	w.call("GET", small.Original.URL, w.as("ann")).refused(500, "system:error:internal-error")
	in, err := w.send(request{method: "GET", path: large.Original.URL, token: w.as("ann")})
	must(t, err)
	defer in.Body.Close()
	if raw, err := io.ReadAll(in.Body); err == nil {
		t.Errorf("%d bytes of %d look like a whole picture", len(raw), large.Original.Size)
	}
	if n := w.damaged(); n != 2 {
		t.Errorf("%v pictures count as damaged, and two are", n)
	}
}

// TestLostObject: what the store does not give may come later.
func TestLostObject(t *testing.T) {
	w, backend := s3World(t)
	up := w.upload(w.as("ann"), sample.PNG(t, 30, 30)).image()
	for _, key := range keysIn(t, backend) {
		_, err := backend.DeleteObject(bucket, key)
		must(t, err)
	}
	a := w.call("GET", up.Original.URL, w.as("ann")).refused(503, "system:error:unavailable")
	if strings.Contains(string(a.raw), bucket) {
		t.Errorf("the answer tells of the store: %s", a.raw)
	}
}
