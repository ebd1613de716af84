package engineio

import (
	"encoding/binary"
	"errors"

	"parley/edge/socket"
)

// The packet types, as they stand first in a packet.
const (
	typeOpen    = '0'
	typeClose   = '1'
	typePing    = '2'
	typePong    = '3'
	typeMessage = '4'
	typeUpgrade = '5'
	typeNoop    = '6'
)

// AppendMessage appends one WebSocket text frame that carries a message packet; write appends
// the packet's content. This is the form in which Conn.Send takes messages, whatever the
// transport, so that one rendering serves all.
func AppendMessage(dst []byte, write func(dst []byte) []byte) []byte {
	const room = socket.HeaderBytesMax
	start := len(dst)
	dst = append(dst, make([]byte, room)...)
	dst = write(append(dst, typeMessage))
	payload := dst[start+room:]
	var space [room]byte
	header := socket.AppendHeader(space[:0], socket.Text, len(payload))
	copy(dst[start:], header)
	n := copy(dst[start+len(header):], payload)
	return dst[:start+len(header)+n]
}

// frame is a packet as one WebSocket text frame.
func frame(packet string) []byte { return socket.AppendFrame(nil, socket.Text, []byte(packet)) }

// errFrames says that bytes given to Send were not complete unmasked frames: a fault of ours.
var errFrames = errors.New("not a sequence of complete frames")

// unframe hands over the payload of each frame in b. Payloads are parts of b.
func unframe(b []byte, each func(packet []byte)) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return errFrames
		}
		n, header := uint64(b[1]&0x7f), 2
		switch {
		case n == 126 && len(b) >= 4:
			n, header = uint64(binary.BigEndian.Uint16(b[2:])), 4
		case n == 127 && len(b) >= 10:
			n, header = binary.BigEndian.Uint64(b[2:]), 10
		case n >= 126:
			return errFrames
		}
		if n > uint64(len(b)-header) {
			return errFrames
		}
		end := header + int(n)
		each(b[header:end])
		b = b[end:]
	}
	return nil
}
