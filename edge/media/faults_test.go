package media_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/edge/limit"
	"parley/edge/media"
	"parley/edge/media/sample"
)

// generous lets a test upload as much as it wants.
func generous(o *limit.Options) {
	for class := range o.Rates {
		o.Rates[class] = limit.Rate{PerSecond: 1e6, Burst: 1e6}
	}
}

// moody stands in front of an object store and does for a request what mood says; false = the store's turn.
type moody struct {
	store http.Handler
	mood  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if mood := m.mood.Load(); mood != nil && (*mood)(w, r) {
		return
	}
	m.store.ServeHTTP(w, r)
}

func (m *moody) is(mood func(w http.ResponseWriter, r *http.Request) bool) { m.mood.Store(&mood) }

func (m *moody) well() { m.mood.Store(nil) }

func moodyWorld(t *testing.T, s settings) (*world, *moody, func() []string) {
	t.Helper()
	m := &moody{}
	w, backend := s3WorldBehind(t, s, func(h http.Handler) http.Handler {
		m.store = h
		return m
	})
	return w, m, func() []string { return keysIn(t, backend) }
}

// method lets a mood be about requests of one method.
func method(name string, mood http.HandlerFunc) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == name {
			mood(w, r)
		}
		return r.Method == name
	}
}

// damaged is how many damaged pictures were met.
func (w *world) damaged() float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	must(w.t, err)
	for _, f := range families {
		if f.GetName() == "parley_edge_media_damaged_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	w.t.Fatal("damage is not counted")
	return 0
}

// TestTheStoreTakesNothing: an upload that can not be kept is refused for now and leaves no image; the same
// upload is taken when the store is well again.
func TestTheStoreTakesNothing(t *testing.T) {
	w, store, keys := moodyWorld(t, settings{limits: generous})
	file := sample.PNG(t, 40, 30)
	for what, mood := range map[string]http.HandlerFunc{
		"its disk is full":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInsufficientStorage) },
		"it is overloaded":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"our key is old":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"it hangs up":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"it speaks no XML":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>oops", http.StatusBadGateway) },
		"the bucket is not": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
	} {
		store.is(method(http.MethodPut, mood))
		a := w.upload(w.as("ann"), file).refused(503, "system:error:unavailable")
		if strings.Contains(string(a.raw), bucket) || strings.Contains(string(a.raw), "127.0.0.1") {
			t.Errorf("%s: the answer tells of the store: %s", what, a.raw)
		}
		if !strings.Contains(w.log.String(), "could not be put into the object store") {
			t.Errorf("%s: the log has no cause", what)
		}
	}
	if found := keys(); len(found) > 0 {
		t.Errorf("there are %v", found)
	}
	store.well()
	up := w.upload(w.as("ann"), file).image()
	w.call("GET", up.Original.URL, w.as("bob")).want(200)
}

// TestTheStoreFailsInTheMiddle: pictures that were put before the failure do no harm, and are used by the
// next try.
func TestTheStoreFailsInTheMiddle(t *testing.T) {
	w, store, keys := moodyWorld(t, settings{})
	file, _ := noise(t, 120, 9)
	var puts atomic.Int32
	first := make(chan struct{})
	store.is(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method != http.MethodPut:
			return false
		case puts.Add(1) == 1:
			store.store.ServeHTTP(w, r)
			close(first)
		default: // they are put side by side, and the first failure ends all
			<-first
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return true
	})
	w.upload(w.as("ann"), file).refused(503, "system:error:unavailable")
	if found := keys(); len(found) != 1 {
		t.Errorf("there are %v", found)
	}
	store.well()
	up := w.upload(w.as("ann"), file).image()
	if found := keys(); len(found) != 3 {
		t.Errorf("three pictures are %v", found)
	}
	for _, url := range []string{up.Original.URL, up.Medium.URL, up.Thumbnail.URL} {
		w.call("GET", url, w.as("bob")).want(200)
	}
}

// TestTheStoreGivesNothing: whatever it does in place of giving, the asker hears that it is worth another
// try, and gets the picture at that.
func TestTheStoreGivesNothing(t *testing.T) {
	w, store, _ := moodyWorld(t, settings{limits: generous, options: func(o *media.Options) { o.SendTimeout = time.Second }})
	up := w.upload(w.as("ann"), sample.PNG(t, 40, 30)).image()
	size := strconv.Itoa(up.Original.Size)
	for what, mood := range map[string]http.HandlerFunc{
		"it is overloaded": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"our key is old":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"it hangs up":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"it hangs up after the head": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", size)
			_, _ = w.Write([]byte("some"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"it says nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"it says nothing after the head": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", size)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		store.is(method(http.MethodGet, mood))
		a := w.call("GET", up.Original.URL, w.as("bob"))
		if a.status != 503 || !strings.Contains(string(a.raw), "system:error:unavailable") {
			t.Errorf("%s: status %d, %s", what, a.status, a.raw)
		}
		store.well()
		a = w.call("GET", up.Original.URL, w.as("bob"))
		for begin := time.Now(); a.status == 503 && time.Since(begin) < time.Minute; { // a second may be little, on a busy machine
			a = w.call("GET", up.Original.URL, w.as("bob"))
		}
		a.want(200)
	}
	if n := w.damaged(); n != 0 {
		t.Errorf("%v pictures count as damaged, though none is", n)
	}
}

// TestTheStoreHangsUpInTheMiddle of a picture that is sent already: it ends as a broken connection, and
// nobody takes a part of it for the whole.
func TestTheStoreHangsUpInTheMiddle(t *testing.T) {
	w, store, _ := moodyWorld(t, settings{})
	file, _ := noise(t, 500, 8)
	up := w.upload(w.as("ann"), file).image()
	whole := w.call("GET", up.Original.URL, w.as("bob")).want(200).raw
	store.is(method(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		_, _ = w.Write(whole[:len(whole)-10])
		panic(http.ErrAbortHandler)
	}))
	in, err := w.send(request{method: "GET", path: up.Original.URL, token: w.as("bob")})
	must(t, err)
	defer in.Body.Close()
	if raw, err := io.ReadAll(in.Body); err == nil {
		t.Errorf("%d bytes of %d look like a whole picture", len(raw), len(whole))
	}
	if n := w.damaged(); n != 0 {
		t.Errorf("a broken connection counts as damage: %v", n)
	}
	store.well()
	if again := w.call("GET", up.Original.URL, w.as("bob")).want(200).raw; !bytes.Equal(again, whole) {
		t.Error("the next try gives another picture")
	}
}

// TestSpoiltImages: any byte of a file may be wrong. What can be decoded is taken, what can not is refused
// with a code, and nothing is our fault.
func TestSpoiltImages(t *testing.T) {
	w := newWorld(t, settings{limits: generous})
	random := rand.New(rand.NewPCG(7, 7))
	for name, good := range map[string][]byte{
		"jpeg": sample.WithEXIF(sample.JPEG(t, 24, 16), 6), "png": sample.WithPNGEXIF(sample.PNG(t, 24, 16), 3),
		"gif": sample.GIF(t, 24, 16, 3), "webp": sample.LossyWebP(),
	} {
		taken, refused := 0, 0
		for range 40 {
			spoilt := bytes.Clone(good)
			for range 1 + random.IntN(3) {
				spoilt[random.IntN(len(spoilt))] = byte(random.Uint32())
			}
			switch a := w.upload(w.admin(), spoilt); a.status {
			case 200:
				taken++
				w.call("GET", a.image().Original.URL, w.admin()).want(200)
			case 400, 413, 415:
				refused++
				if !strings.Contains(string(a.raw), `"code":"http:error:`) {
					t.Errorf("%s: a refusal without a code: %s", name, a.raw)
				}
			default:
				t.Errorf("%s %x: status %d, %s", name, spoilt, a.status, a.raw)
			}
		}
		if refused == 0 {
			t.Errorf("%s: %d spoilt files were taken and none refused", name, taken)
		}
	}
	if text := w.log.String(); strings.Contains(text, "panic") {
		t.Error("the log has a panic")
	}
	w.upload(w.admin(), sample.PNG(t, 4, 4)).want(200)
}

// TestLimitsAreExact: what is as large as may be is taken, what is one more is not.
func TestLimitsAreExact(t *testing.T) {
	file := sample.PNG(t, 30, 20)
	for _, c := range []struct {
		what   string
		limit  func(*media.Options, int64)
		most   int64
		status int
	}{
		{"bytes", func(o *media.Options, n int64) { o.FileBytesMax = n }, int64(len(file)), 413},
		{"pixels", func(o *media.Options, n int64) { o.Limits.PixelsMax = n }, 30 * 20, 413},
		{"a side", func(o *media.Options, n int64) { o.Limits.SideMax = int(n) }, 30, 413},
	} {
		for less := range int64(2) {
			w := newWorld(t, settings{options: func(o *media.Options) { c.limit(o, c.most-less) }})
			want := 200
			if less > 0 {
				want = c.status
			}
			if a := w.upload(w.admin(), file); a.status != want {
				t.Errorf("%s, limit %d: status %d, want %d: %s", c.what, c.most-less, a.status, want, a.raw)
			}
			w.stop()
		}
	}
	w := newWorld(t, settings{})
	fields := []field{{"file", string(file)}}
	for len(fields) < 32 {
		fields = append(fields, field{fmt.Sprint("unknown", len(fields)), strings.Repeat("x", 256)})
	}
	w.uploadFields(fields...).want(200)
	w.uploadFields(append(fields, field{"one-more", ""})...).refused(400, "http:error:validation-fail")
	fields[31].value += "x"
	w.uploadFields(fields...).refused(413, "http:error:payload-too-large")
}

// uploadFields sends a form as it is.
func (w *world) uploadFields(fields ...field) *answer {
	w.t.Helper()
	kind, body := form(w.t, fields...)
	return w.do(request{method: "POST", path: "/v1/image", token: w.admin(), kind: kind, body: body})
}

// TestANodeThatWasNotToldOfTheStore says so, of what others have put there, and keeps what it is given itself.
func TestANodeThatWasNotToldOfTheStore(t *testing.T) {
	fs := vfs.NewMem()
	w, _, _ := moodyWorld(t, settings{fs: fs})
	there := w.upload(w.as("ann"), sample.PNG(t, 20, 20)).image()
	w.stop()

	poor := newWorld(t, settings{fs: fs, app: w.app})
	path := "/v1/image/" + there.Original.ID
	poor.call("GET", path, poor.as("bob")).refused(503, "system:error:unavailable")
	poor.call("HEAD", path, poor.as("bob")).want(200) // what is known of it is in the cluster
	here := poor.upload(poor.as("ann"), sample.PNG(t, 21, 21)).image()
	poor.call("GET", here.Original.URL, poor.as("bob")).want(200)
	poor.call("DELETE", path, poor.as("ann")).want(204)
	poor.call("GET", path, poor.as("bob")).refused(404, "http:error:not-found")
}

// TestWhoHangsUpLeavesNothing: an upload whose sender goes in the middle, at whatever byte, leaves no file
// behind and takes no place from the next.
func TestWhoHangsUpLeavesNothing(t *testing.T) {
	spool := t.TempDir()
	w := newWorld(t, settings{limits: generous, options: func(o *media.Options) { o.UploadsMax, o.SpoolDir = 1, spool }})
	kind, body := form(t, field{"quality_ratio", "90"}, field{"file", string(sample.PNG(t, 60, 60))})
	whole := body.Bytes()
	for _, n := range []int{0, 1, 60, len(whole) / 2, len(whole) - 3} {
		socket, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		must(t, err)
		_, err = fmt.Fprintf(socket, "POST /v1/image HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", w.admin(), kind, len(whole))
		must(t, err)
		_, err = socket.Write(whole[:n])
		must(t, err)
		must(t, socket.Close())
		a := w.upload(w.admin(), sample.PNG(t, 4, 4))
		for begin := time.Now(); a.status == 503; a = w.upload(w.admin(), sample.PNG(t, 4, 4)) { // the one before has not noticed yet
			if time.Since(begin) > time.Minute {
				t.Fatalf("hung up after %d bytes: its place stays taken", n)
			}
		}
		a.want(200)
	}
	w.stop() // one that has not begun before it was hung up may have had its turn last
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("%d files are left over, %v", len(left), err)
	}
}
