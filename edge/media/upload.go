package media

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"

	"parley/edge/media/picture"
	"parley/proto/code"
)

const (
	// partsMax is how many parts a form may have: the SDKs send four.
	partsMax = 32
	// fieldBytesMax bounds a field that is not the file.
	fieldBytesMax = 256
	// headBytesMax bounds the header of a part, which is held in memory, with what a form may have before its first.
	headBytesMax = 16 << 10
	// formBytes is what a form has around its file, generously.
	formBytes = 64 << 10
)

// upload is a form that has arrived.
type upload struct {
	file     *spool
	settings picture.Settings
}

// receive reads a whole upload. On an error it has read on, within bounds, so that the sender comes
// to see the answer: browsers tell their pages nothing when a connection breaks while they send.
func (h *Handler) receive(c *call) (u *upload, err error) {
	if err := h.expect(c); err != nil {
		return nil, err
	}
	connection := http.NewResponseController(c.writer)
	_ = connection.SetReadDeadline(h.options.Now().Add(h.options.UploadTimeout)) // the server's own is for small bodies
	body := io.LimitReader(c.request.Body, h.options.DrainBytesMax)
	u = &upload{settings: picture.Settings{Quality: 100, Medium: 50, Thumbnail: 30}}
	if u.file, err = newSpool(h.options.SpoolDir, h.options.FileBytesMax); err != nil {
		return nil, err
	}
	if err := u.read(body, c.boundary); err != nil {
		_, _ = io.Copy(io.Discard, body)
		return nil, errors.Join(err, u.file.Close())
	}
	h.metrics.received.Add(float64(u.file.size))
	return u, nil
}

// expect refuses by the header alone what cannot be an upload.
func (h *Handler) expect(c *call) error {
	kind, parameters, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || parameters["boundary"] == "" {
		return code.New(code.UnsupportedMedia, "An upload must be multipart/form-data, with the image as file.")
	}
	c.boundary = parameters["boundary"]
	if c.request.ContentLength <= h.options.FileBytesMax+formBytes {
		return nil
	}
	if c.request.ContentLength <= h.options.DrainBytesMax && c.request.Header.Get("Expect") == "" {
		connection := http.NewResponseController(c.writer)
		_ = connection.SetReadDeadline(h.options.Now().Add(h.options.UploadTimeout))
		_, _ = io.Copy(io.Discard, c.request.Body)
	}
	return code.New(code.TooLarge, "The file is larger than %d bytes.", h.options.FileBytesMax)
}

func (u *upload) read(body io.Reader, boundary string) error {
	text := &headed{Reader: body}
	form := multipart.NewReader(text, boundary)
	for n := 0; ; n++ {
		text.heading, text.left = true, headBytesMax
		part, err := form.NextRawPart()
		text.heading = false
		switch {
		case errors.Is(err, errHead):
			return code.New(code.TooLarge, "The header of a part is longer than %d bytes.", headBytesMax)
		case errors.Is(err, io.EOF) && n > 0:
			return u.complete()
		case err != nil:
			return unreadable(err)
		case n == partsMax:
			return code.New(code.ValidationFail, "The form has more than %d parts.", partsMax)
		}
		if err := u.part(part); err != nil {
			return err
		}
	}
}

// headed reads a form. Of the header of a part it gives only so much.
type headed struct {
	io.Reader
	heading bool // a header is being read
	left    int  // bytes of it
}

// errHead says that the header of a part is too long.
var errHead = errors.New("the header of a part is too long")

// Read implements io.Reader.
func (h *headed) Read(b []byte) (int, error) {
	switch {
	case !h.heading:
		return h.Reader.Read(b)
	case h.left == 0:
		return 0, errHead
	}
	n, err := h.Reader.Read(b[:min(len(b), h.left)])
	h.left -= n
	return n, err
}

func (u *upload) complete() error {
	if u.file.size == 0 {
		return code.Invalid("file", "is required")
	}
	return nil
}

// part takes one part. Unknown ones are read and ignored.
func (u *upload) part(p *multipart.Part) error {
	name := p.FormName()
	if name == "file" {
		if u.file.size > 0 {
			return code.Invalid("file", "must be given once")
		}
		return u.file.receive(p)
	}
	value, err := io.ReadAll(io.LimitReader(p, fieldBytesMax+1))
	if err != nil {
		return unreadable(err)
	}
	for _, f := range []struct {
		name string
		at   *int
		min  int
	}{
		{"quality_ratio", &u.settings.Quality, 0},
		{"medium_size_ratio", &u.settings.Medium, 1},
		{"thumbnail_size_ratio", &u.settings.Thumbnail, 1},
	} {
		if f.name == name {
			return ratio(f.at, f.name, string(value), f.min)
		}
	}
	if len(value) > fieldBytesMax {
		return code.New(code.TooLarge, "A field of the form is longer than %d bytes.", fieldBytesMax)
	}
	return nil
}

// ratio reads a per cent value. An empty one, and what JavaScript makes of an absent one, stand for
// the default.
func ratio(at *int, name, value string, least int) error {
	value = strings.TrimSpace(value)
	if value == "" || value == "undefined" || value == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil || f != f:
		return code.Invalid(name, "must be a number")
	case f != float64(int(max(min(f, 1e6), -1e6))):
		return code.Invalid(name, "must be an integer")
	case f < float64(least):
		return code.Invalid(name, fmt.Sprintf("must be greater than or equal to %d", least))
	case f > 100:
		return code.Invalid(name, "must be less than or equal to 100")
	}
	*at = int(f)
	return nil
}
