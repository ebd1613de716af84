package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"parley/cluster/version"
)

// Version is the version of the stream between two nodes, which both state in their hello.
const Version = 1

// Identity says who a node is. Every stream opens with both ends' identities, so that a node of
// another cluster, or an address that has changed hands, is noticed before a byte is taken.
type Identity struct {
	Cluster     string // cluster id
	Node        string // node name
	Store       string // uuid of the store
	Incarnation uint64 // grows with every start of the node with this store
	// Versions are the cluster versions that the node speaks; none = those of this build.
	Versions version.Range
}

// purpose says what a stream is for.
type purpose byte

const (
	purposeBatches  purpose = 1
	purposeSnapshot purpose = 2
)

// hello is the first frame of a stream: magic(4) version(uvarint) purpose(1) to, cluster, node,
// store (bytes) incarnation, oldest and newest cluster version (uvarints). The answer is an empty frame for yes, otherwise a verdict
// (1) and the reason in words.
type hello struct {
	version uint64
	purpose purpose
	to      string // whom the dialer means to reach
	Identity
}

const (
	verdictRefused = 1
	verdictRemoved = 2

	magic        = "PRLY"
	helloSizeMax = 4 << 10
)

var errHello = errors.New("malformed hello")

func (h hello) encode() []byte {
	b := binary.AppendUvarint([]byte(magic), h.version)
	b = append(b, byte(h.purpose))
	for _, s := range []string{h.to, h.Cluster, h.Node, h.Store} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, n := range []uint64{h.Incarnation, uint64(h.Versions.Oldest), uint64(h.Versions.Newest)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// decodeHello reads what this build knows of a hello.
func decodeHello(b []byte) (h hello, err error) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return h, errHello
	}
	b = b[len(magic):]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = errHello, nil
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			err, b = errHello, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	h.version = number()
	if len(b) == 0 {
		return h, errHello
	}
	h.purpose, b = purpose(b[0]), b[1:]
	h.to, h.Cluster, h.Node, h.Store = text(), text(), text(), text()
	h.Incarnation = number()
	h.Versions = version.Told(uint32(min(number(), math.MaxUint32)), uint32(min(number(), math.MaxUint32)))
	return h, err // what follows is of a later build
}

// answerTo encodes the answer to a hello.
func answerTo(refused error) []byte {
	switch {
	case refused == nil:
		return nil
	case errors.Is(refused, ErrRemoved):
		return append([]byte{verdictRemoved}, refused.Error()...)
	default:
		return append([]byte{verdictRefused}, refused.Error()...)
	}
}

// readAnswer turns the answer of a node into an error.
func readAnswer(answer []byte) error {
	switch {
	case len(answer) == 0:
		return nil
	case answer[0] == verdictRemoved:
		return fmt.Errorf("%w: %q", ErrRemoved, answer[1:])
	default:
		return fmt.Errorf("%w: %q", ErrRefused, answer[1:])
	}
}

// refuses says why a node does not talk to who sent h, or "".
func (i Identity) refuses(h hello) string {
	switch {
	case h.version != Version:
		return fmt.Sprintf("stream version %d, this node speaks %d", h.version, Version)
	case !i.Versions.Meets(h.Versions):
		return fmt.Sprintf("this node speaks cluster versions %d to %d, node %q %d to %d",
			i.Versions.Oldest, i.Versions.Newest, h.Node, h.Versions.Oldest, h.Versions.Newest)
	case h.Cluster != i.Cluster:
		return "node of another cluster"
	case h.to != i.Node:
		return fmt.Sprintf("this is node %q, not %q", i.Node, h.to)
	case h.Node == i.Node || h.Node == "":
		return fmt.Sprintf("node name %q is taken", h.Node)
	case h.purpose != purposeBatches && h.purpose != purposeSnapshot:
		return "stream of unknown purpose"
	}
	return ""
}

// writeFrame writes length and bytes.
func writeFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readFrame reads a frame of at most sizeMax bytes into memory of its own.
func readFrame(r io.Reader, sizeMax int) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(header[:])
	if int64(n) > int64(sizeMax) {
		return nil, fmt.Errorf("frame of %d bytes is over the limit of %d", n, sizeMax)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
