package media_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"parley/edge/limit"
	"parley/edge/media"
	"parley/edge/media/sample"
)

// TestWhoMay is the list of who may do what, and which refusal the others get.
func TestWhoMay(t *testing.T) {
	w := newWorld(t, settings{})
	up := w.upload(w.as("ann"), sample.PNG(t, 4, 4)).image()
	other := w.newApplication()
	withACL := func(acl any) string { return token(t, w.app, object{"sub": "ann", "acl": acl}) }
	paths := func(p string, grant object) any { return object{"paths": object{p: grant}} }
	tokens := map[string]string{
		"none": "", "damaged": w.as("ann") + "x", "expired": token(t, w.app, object{"iat": 1, "exp": 2}),
		"without acl": token(t, w.app, object{"sub": "ann"}), "other path": withACL(paths("/*/users/**", object{})),
		"read only": withACL(paths("/*/image/**", object{"methods": []string{"GET"}})),
		"of an era": withACL(paths("/beta/image/**", object{})),
		"foreign":   token(t, other, nil), "stranger": token(t, w.app, object{"sub": "nobody", "acl": paths("/**", object{})}),
		"another user": w.as("bob"), "owner": w.as("ann"),
	}
	for name, want := range map[string][3]int{ // GET, POST, DELETE
		"none": {401, 401, 401}, "damaged": {401, 401, 401}, "expired": {401, 401, 401}, "stranger": {401, 401, 401},
		"without acl": {403, 403, 403}, "other path": {403, 403, 403}, "read only": {200, 403, 403},
		"foreign": {404, 200, 404}, "another user": {200, 200, 403}, "of an era": {200, 200, 204},
	} {
		if got := w.call("GET", up.Medium.URL, tokens[name]).status; got != want[0] {
			t.Errorf("%s: GET %d, want %d", name, got, want[0])
		}
		if got := w.upload(tokens[name], sample.PNG(t, 2, 2)).status; got != want[1] {
			t.Errorf("%s: POST %d, want %d", name, got, want[1])
		}
		if want[2] != 204 { // the image is still needed
			if got := w.call("DELETE", up.Medium.URL, tokens[name]).status; got != want[2] {
				t.Errorf("%s: DELETE %d, want %d", name, got, want[2])
			}
		}
	}
	named := w.call("GET", up.Medium.URL, tokens["other path"]).refused(403, "system:error:permission")
	if !strings.Contains(string(named.raw), "/v1/image/"+up.Medium.ID) {
		t.Errorf("the refused path is not named: %s", named.raw)
	}
	if a := w.call("GET", up.Medium.URL, ""); a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Error("401 without WWW-Authenticate")
	}
	w.call("DELETE", up.Medium.URL, tokens["of an era"]).want(204)
}

// TestPathsAndMethods: what is served is served under one spelling.
func TestPathsAndMethods(t *testing.T) {
	w := newWorld(t, settings{})
	up := w.upload(w.admin(), sample.PNG(t, 4, 4)).image()
	for _, path := range []string{
		"/v1/image/", "/v1/image/x", "/v1/image/" + up.ID + "/", "/v1/image//" + up.ID, "/v1/image/" + strings.ToUpper(up.ID),
		"/v1/image/%2e%2e/image", "/v1/image/" + up.ID + "%00", "/v1/images", "/v1/image/0de7a7b5-0000-4000-8000-000000000000",
	} {
		w.call("GET", path, w.admin()).refused(404, "http:error:not-found")
		w.call("DELETE", path, w.admin()).refused(404, "http:error:not-found")
	}
	for method, path := range map[string]string{"GET": "/v1/image", "PUT": "/v1/image/" + up.ID, "PATCH": "/v1/image"} {
		a := w.call(method, path, w.admin()).refused(405, "http:error:method-not-allowed")
		if a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", method, path)
		}
	}
	question := w.do(request{method: "OPTIONS", path: "/v1/image", header: map[string]string{
		"Origin": "https://chat.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-trace",
	}}).want(204)
	for header, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://chat.example", "Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "x-trace",
	} {
		if !strings.Contains(question.header.Get(header), want) {
			t.Errorf("%s is %q", header, question.header.Get(header))
		}
	}
	refused := w.do(request{method: "POST", path: "/v1/image", header: map[string]string{"Origin": "https://chat.example"}}).want(401)
	if refused.header.Get("Access-Control-Allow-Origin") == "" {
		t.Error("a page cannot read why it was refused")
	}
}

// TestBadUploads: each gets a code, and words that say what was wrong and where.
func TestBadUploads(t *testing.T) {
	w := newWorld(t, settings{options: func(o *media.Options) { o.FileBytesMax = 1 << 20 }})
	good := string(sample.PNG(t, 6, 6))
	file := field{"file", good}
	many := make([]field, 40)
	for i := range many {
		many[i] = field{fmt.Sprint("f", i), "x"}
	}
	for name, c := range map[string]struct {
		fields []field
		status int
		code   string
		says   string
	}{
		"no parts":       {nil, 400, "http:error:validation-fail", ""},
		"no file":        {[]field{{"quality_ratio", "1"}}, 400, "http:error:validation-fail", "file"},
		"empty file":     {[]field{{"file", ""}}, 400, "http:error:validation-fail", "empty"},
		"two files":      {[]field{file, file}, 400, "http:error:validation-fail", "once"},
		"svg":            {[]field{{"file", "<svg onload=alert(1)>"}}, 415, "http:error:unsupported-media-type", "SVG"},
		"heic":           {[]field{{"file", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"}}, 415, "http:error:unsupported-media-type", "HEIC"},
		"cut":            {[]field{{"file", good[:40]}}, 400, "http:error:validation-fail", "too early"},
		"damaged":        {[]field{{"file", strings.Replace(good, "IDAT", "IDAT\xff", 1)}}, 400, "http:error:validation-fail", "file"},
		"bomb":           {[]field{{"file", string(sample.PNGHeader(50_000, 50_000, 8, 6))}}, 413, "http:error:payload-too-large", "pixels"},
		"no number":      {[]field{file, {"quality_ratio", "best"}}, 400, "http:error:validation-fail", "must be a number"},
		"not a number":   {[]field{file, {"quality_ratio", "NaN"}}, 400, "http:error:validation-fail", "must be a number"},
		"a fraction":     {[]field{file, {"quality_ratio", "50.5"}}, 400, "http:error:validation-fail", "integer"},
		"endless":        {[]field{file, {"quality_ratio", "1e309"}}, 400, "http:error:validation-fail", "number"},
		"too good":       {[]field{file, {"quality_ratio", "101"}}, 400, "http:error:validation-fail", "less than or equal to 100"},
		"nothing left":   {[]field{file, {"medium_size_ratio", "0"}}, 400, "http:error:validation-fail", "greater than or equal to 1"},
		"negative":       {[]field{file, {"thumbnail_size_ratio", "-1"}}, 400, "http:error:validation-fail", "greater"},
		"many parts":     {append(many, file), 400, "http:error:validation-fail", "parts"},
		"a long field":   {[]field{{"x", strings.Repeat("y", 300)}, file}, 413, "http:error:payload-too-large", "field"},
		"too many bytes": {[]field{{"file", strings.Repeat("z", 2<<20)}}, 413, "http:error:payload-too-large", "1048576"},
	} {
		kind, body := form(t, c.fields...)
		for _, chunked := range []bool{false, true} {
			var r io.Reader = bytes.NewReader(body.Bytes())
			if chunked {
				r = struct{ io.Reader }{r} // its length is not known beforehand
			}
			a := w.do(request{method: "POST", path: "/v1/image", token: w.admin(), kind: kind, body: r}).refused(c.status, c.code)
			if !strings.Contains(string(a.raw), c.says) {
				t.Errorf("%s: %s does not say %q", name, a.raw, c.says)
			}
		}
	}
	for kind, body := range map[string]string{"application/json": "{}", "": "x", "multipart/form-data": "x", "multipart/mixed; boundary=x": "--x--"} {
		w.do(request{method: "POST", path: "/v1/image", token: w.admin(), kind: kind, body: strings.NewReader(body)}).refused(415, "http:error:unsupported-media-type")
	}
	w.do(request{method: "POST", path: "/v1/image", token: w.admin(), kind: "multipart/form-data; boundary=x", body: strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncut")}).
		refused(400, "http:error:validation-fail")
	w.upload(w.admin(), []byte(good), field{"quality_ratio", ""}, field{"medium_size_ratio", "undefined"}, field{"thumbnail_size_ratio", " 30 "}).want(200)
	if strings.Contains(w.log.String(), "panic") {
		t.Error("the log has a panic")
	}
}

// TestRefusedWhileSending: who sends all before listening, as browsers do, hears why it was in vain.
func TestRefusedWhileSending(t *testing.T) {
	w := newWorld(t, settings{options: func(o *media.Options) { o.FileBytesMax = 1 << 20 }})
	for name, fields := range map[string][]field{
		"a bad field first": {{"quality_ratio", "x"}, {"file", strings.Repeat("y", 12<<20)}},
		"too large":         {{"file", strings.Repeat("y", 20<<20)}},
	} {
		kind, body := form(t, fields...)
		socket, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		must(t, err)
		defer socket.Close()
		_, err = fmt.Fprintf(socket, "POST /v1/image HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", w.admin(), kind, body.Len())
		must(t, err)
		if _, err := io.Copy(socket, body); err != nil {
			t.Fatalf("%s: cut while sending: %v", name, err)
		}
		in, err := http.ReadResponse(bufio.NewReader(socket), nil)
		if err != nil || in.StatusCode/100 != 4 {
			t.Errorf("%s: %v, %v", name, in, err)
		}
	}
}

// TestMemoryLimit: what could be decoded in principle may still be more than this node gives.
func TestMemoryLimit(t *testing.T) {
	w := newWorld(t, settings{options: func(o *media.Options) { o.MemoryBytesMax = 100_000 }})
	w.upload(w.admin(), sample.PNG(t, 200, 200)).refused(413, "http:error:payload-too-large")
	w.upload(w.admin(), sample.PNG(t, 50, 50)).want(200)
}

// hanging is an upload that has begun and does not go on. It has begun when the server, asked to say
// so, wants the body.
func (w *world) hanging() (started chan struct{}, done chan error, end func()) {
	kind, body := form(w.t, field{"file", strings.Repeat("x", 1000)})
	r, pipe := io.Pipe()
	started, done = make(chan struct{}), make(chan error, 1)
	out, err := http.NewRequest("POST", w.url+"/v1/image", r)
	must(w.t, err)
	out.Header.Set("Content-Type", kind)
	out.Header.Set("Authorization", "Bearer "+w.admin())
	out.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	go func() {
		defer client.CloseIdleConnections()
		in, err := client.Do(out)
		if err == nil {
			err = fmt.Errorf("status %d", in.StatusCode)
			in.Body.Close()
		}
		done <- err
	}()
	go func() {
		_, _ = pipe.Write(body.Bytes()[:500])
		close(started)
	}()
	return started, done, func() { pipe.CloseWithError(io.ErrClosedPipe) }
}

// TestTooManyUploads: one more than may be is told to come back, and may when another has ended,
// whose spool is gone.
func TestTooManyUploads(t *testing.T) {
	spool := t.TempDir()
	w := newWorld(t, settings{options: func(o *media.Options) { o.UploadsMax, o.SpoolDir = 1, spool }})
	started, done, end := w.hanging()
	<-started
	a := w.upload(w.admin(), sample.PNG(t, 4, 4))
	if a.refused(503, "system:error:unavailable"); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	end()
	<-done
	for a = w.upload(w.admin(), sample.PNG(t, 4, 4)); a.status == 503; a = w.upload(w.admin(), sample.PNG(t, 4, 4)) {
	}
	a.want(200)
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("%d files are left over: %v", len(left), err)
	}
}

// TestSlowUpload: an upload that does not come to its end is ended.
func TestSlowUpload(t *testing.T) {
	w := newWorld(t, settings{options: func(o *media.Options) { o.UploadTimeout = 100 * time.Millisecond }})
	started, done, end := w.hanging()
	<-started
	err := <-done
	end()
	if err == nil || !strings.Contains(err.Error(), "status 400") {
		t.Errorf("got %v", err)
	}
}

// TestRateLimit: uploads are dearer than other requests.
func TestRateLimit(t *testing.T) {
	w := newWorld(t, settings{limits: func(o *limit.Options) {
		o.Rates[limit.Token] = limit.Rate{PerSecond: 0.001, Burst: 120}
	}})
	for range 2 {
		w.upload(w.admin(), sample.PNG(t, 2, 2)).want(200)
	}
	if a := w.upload(w.admin(), sample.PNG(t, 2, 2)).refused(429, "http:error:too-many-requests"); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.upload(w.as("ann"), sample.PNG(t, 2, 2)).want(200)
}

// TestFullSpool: a disk that takes nothing is our fault, and its words stay in the log.
func TestFullSpool(t *testing.T) {
	w := newWorld(t, settings{options: func(o *media.Options) { o.SpoolDir = "/nowhere/at/all" }})
	a := w.upload(w.admin(), sample.PNG(t, 2, 2)).refused(500, "system:error:internal-error")
	if strings.Contains(string(a.raw), "nowhere") || !strings.Contains(w.log.String(), "nowhere") {
		t.Error("the cause is in the wrong place")
	}
}

func TestOptions(t *testing.T) {
	if err := media.DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*media.Options){
		"file":    func(o *media.Options) { o.FileBytesMax = 0 },
		"blob":    func(o *media.Options) { o.FileBytesMax = 1 << 30 },
		"drain":   func(o *media.Options) { o.DrainBytesMax = 1 },
		"time":    func(o *media.Options) { o.SendTimeout = 0 },
		"lapse":   func(o *media.Options) { o.UploadTimeout = time.Hour },
		"uploads": func(o *media.Options) { o.UploadsMax = 0 },
		"clock":   func(o *media.Options) { o.Now = nil },
		"limits":  func(o *media.Options) { o.Limits.PixelsMax = 0 },
	} {
		o := media.DefaultOptions()
		if spoil(&o); o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := media.New(media.Parts{}, media.DefaultOptions()); err == nil {
		t.Error("a handler without parts")
	}
}
