package media

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"parley/proto/code"
)

// spool is a file on its way: bytes on disk, with their number and their sum.
type spool struct {
	file *os.File
	sum  hash.Hash
	size int64
	max  int64
	err  error // of the disk
}

// newSpool makes an empty spool of at most max bytes. Its file has no name any more where the
// system allows that, so that nothing is left behind when the process dies.
func newSpool(dir string, max int64) (*spool, error) {
	f, err := os.CreateTemp(dir, "parley-image-*")
	if err != nil {
		return nil, fmt.Errorf("make a spool file: %w", err)
	}
	_ = os.Remove(f.Name()) // else Close does it
	return &spool{file: f, sum: sha256.New(), max: max}, nil
}

// errSpoolFull says that more was written than the spool may hold.
var errSpoolFull = errors.New("spool is full")

// Write implements io.Writer.
func (s *spool) Write(b []byte) (int, error) {
	if s.size+int64(len(b)) > s.max {
		return 0, errSpoolFull
	}
	n, err := s.file.Write(b)
	s.sum.Write(b[:n])
	s.size += int64(n)
	if err != nil {
		s.err = fmt.Errorf("write a spool file: %w", err)
		return n, s.err
	}
	return n, nil
}

// reader reads what was written, from the beginning. Several may read at once.
func (s *spool) reader() *io.SectionReader { return io.NewSectionReader(s.file, 0, s.size) }

// name is the id of the blob with these bytes.
func (s *spool) name() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// Close removes the file.
func (s *spool) Close() error {
	err := s.file.Close()
	if e := os.Remove(s.file.Name()); e != nil && !errors.Is(e, os.ErrNotExist) {
		return errors.Join(err, e)
	}
	return err
}

// receive takes a part of an upload. Errors of the disk are ours, all others the sender's.
func (s *spool) receive(part io.Reader) error {
	_, err := io.Copy(s, part)
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, errSpoolFull):
		return code.New(code.TooLarge, "The file is larger than %d bytes.", s.max)
	case err != nil:
		return unreadable(err)
	case s.size == 0:
		return code.Invalid("file", "is not allowed to be empty")
	}
	return nil
}

// unreadable is told when an upload ends in the middle.
func unreadable(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return code.New(code.ValidationFail, "The upload took too long.")
	}
	return code.New(code.ValidationFail, "The body could not be read to its end.")
}
