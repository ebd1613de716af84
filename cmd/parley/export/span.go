package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// span is a part of a file that holds events of one conversation and nothing else: objects, with space
// and commas between them. An export may have one for each event, so it is kept in 24 bytes.
type span struct {
	start int64
	line  int    // of start
	size  uint32 // at most FileBytesMax
	file  uint32 // its number
}

// file is an open file of an export.
type file interface {
	io.ReadCloser
	io.ReaderAt
}

func openFile(name string) (file, error) { return os.Open(name) }

// files are the files of an export, by number, and how many spans they have.
type files struct {
	open     func(name string) (file, error)
	names    []string
	spans    int
	spansMax int
}

func (f *files) full() error {
	if f.spans <= f.spansMax {
		return nil
	}
	return fmt.Errorf("its events stand in more than %d places: sort them by conversation, or import them in parts", f.spansMax)
}

// text is what a file holds from start on, in memory.
type text struct {
	raw     []byte
	start   int64
	at      Place // of the byte at counted
	counted int
}

// place is where the byte at offset stands. It counts from the byte that it was last asked for.
func (t *text) place(offset int) Place {
	if offset >= t.counted {
		t.at.Line += bytes.Count(t.raw[t.counted:offset], []byte("\n"))
	} else {
		t.at.Line -= bytes.Count(t.raw[offset:t.counted], []byte("\n"))
	}
	t.counted = offset
	return t.at
}

// marker notes where in a file events stand.
type marker struct {
	files *files
	file  uint32
	last  *Conversation // whose last span ends at end
	end   int64         // with the space and commas behind it
}

// note remembers an event of t. What follows upon the event before, of the same conversation, needs no
// span of its own.
func (m *marker) note(c *Conversation, t *text, i *item) {
	m.pass(t)
	start := t.start + int64(i.start)
	end := start + int64(len(i.raw))
	if c == m.last && start == m.end {
		if s := &c.spans[len(c.spans)-1]; end-s.start <= FileBytesMax {
			s.size, m.end = uint32(end-s.start), end
			return
		}
	}
	m.last, m.end = nil, end
	if m.files.spans++; m.files.spans <= m.files.spansMax {
		c.spans = append(c.spans, span{start: start, line: i.at.Line, size: uint32(end - start), file: m.file})
		m.last = c
	}
}

// pass goes on over the space and commas behind the last event, as far as t has them.
func (m *marker) pass(t *text) {
	if from := m.end - t.start; from >= 0 && from <= int64(len(t.raw)) {
		m.end += int64(separators(t.raw[from:]))
	}
}

// errChanged is told of a file that is not what it was when its spans were noted.
var errChanged = errors.New("has changed since it was checked")

// spanReader reads spans. It keeps the file that it read last open.
type spanReader struct {
	files  *files
	from   file
	number uint32 // of from
	buffer []byte
}

// read gives what a span holds; it is good until the next call.
func (r *spanReader) read(s span) (*text, error) {
	name := r.files.names[s.file]
	if r.from == nil || r.number != s.file {
		r.close()
		f, err := r.files.open(name)
		if err != nil {
			return nil, err
		}
		r.from, r.number = f, s.file
	}
	r.buffer = slices.Grow(r.buffer[:0], int(s.size))[:s.size]
	n, err := r.from.ReadAt(r.buffer, s.start)
	switch {
	case n == len(r.buffer):
		return &text{raw: r.buffer, start: s.start, at: Place{name, s.line}}, nil
	case errors.Is(err, io.EOF):
		return nil, errChanged
	}
	return nil, err
}

// close may be called more than once. Nothing was written, so nothing can be lost.
func (r *spanReader) close() {
	if r.from != nil {
		r.from.Close()
		r.from = nil
	}
}

// events gives the events of a span of c, in the order of the file.
func (r *spanReader) events(c *Conversation, s span, found func(*Event)) error {
	t, err := r.read(s)
	if err != nil {
		return err
	}
	for start, raw := range values(t.raw) {
		i := item{at: t.place(start), kind: "events", conversation: c.ID}
		f := fieldsOf(raw)
		if f == nil || i.kindOf(f) != "events" || i.conversationOf(f) != c.ID {
			return errChanged
		}
		found(eventOf(i.at, f))
	}
	return nil
}
