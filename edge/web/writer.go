// Package web is what the HTTP services of the edge do alike: who asks, which pages may read the
// answer, how an error is told, and what is remembered of an answer for the log.
package web

import "net/http"

// Writer is a ResponseWriter that remembers what was answered. It is of one request, and not safe
// for use from several goroutines.
type Writer struct {
	http.ResponseWriter
	Status  int   // 200 until another is written
	Bytes   int64 // of the body so far
	Written bool  // the status has left: nothing else can be answered
}

// NewWriter watches w.
func NewWriter(w http.ResponseWriter) Writer { return Writer{ResponseWriter: w, Status: http.StatusOK} }

// WriteHeader implements http.ResponseWriter; only the first call counts.
func (w *Writer) WriteHeader(status int) {
	if !w.Written {
		w.Status, w.Written = status, true
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (int, error) {
	w.WriteHeader(w.Status)
	n, err := w.ResponseWriter.Write(b)
	w.Bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Protect sets what every answer carries, so that a browser takes it for what it is, and keeps
// nothing of it.
func Protect(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
}
