package socket

import "encoding/binary"

// Opcode is the kind of a WebSocket frame (RFC 6455 section 5.2).
type Opcode byte

// The opcodes that a server sends.
const (
	Text    Opcode = 0x1
	Binary  Opcode = 0x2
	opClose Opcode = 0x8
	opPing  Opcode = 0x9
)

// HeaderBytesMax is the longest header of an unmasked frame.
const HeaderBytesMax = 10

// AppendFrame appends payload to dst as one unmasked, unfragmented frame.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendHeader appends the header of a frame with n payload bytes.
func AppendHeader(dst []byte, op Opcode, n int) []byte {
	const fin = 0x80
	switch {
	case n < 126:
		return append(dst, fin|byte(op), byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, fin|byte(op), 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, fin|byte(op), 127), uint64(n))
	}
}

// pingFrame is shared by all connections.
var pingFrame = AppendFrame(nil, opPing, nil)

// closeFrame is the close frame of c.
func closeFrame(c CloseCode) []byte {
	payload := binary.BigEndian.AppendUint16(nil, uint16(c))
	return AppendFrame(nil, opClose, append(payload, c.String()...))
}
