package engineio

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf8"
)

// A payload is several packets in the body of one polling request or answer. Version 3 writes
// <length>:<packet> for each, the length in UTF-16 code units as JavaScript counts; version 4
// puts a record separator between them.

// separator stands between the packets of a version 4 payload.
const separator = 0x1e

// Reasons why a payload is refused.
var (
	errPayload = errors.New("the payload is malformed")
	errPackets = errors.New("the payload has too many packets")
)

// appendPayload appends one packet to a payload of the version.
func appendPayload(dst []byte, version int, packet []byte) []byte {
	if version >= 4 {
		if len(dst) > 0 {
			dst = append(dst, separator)
		}
		return append(dst, packet...)
	}
	dst = strconv.AppendInt(dst, int64(units(packet)), 10)
	dst = append(dst, ':')
	return append(dst, packet...)
}

// split cuts a payload into its packets, at most max of them. Packets are parts of payload. The
// count is checked before anything is kept.
func split(payload []byte, version, max int) ([][]byte, error) {
	if len(payload) == 0 {
		return nil, errPayload
	}
	if version >= 4 {
		if bytes.Count(payload, []byte{separator}) >= max {
			return nil, errPackets
		}
		return bytes.Split(payload, []byte{separator}), nil
	}
	var packets [][]byte
	for len(payload) > 0 {
		if len(packets) == max {
			return nil, errPackets
		}
		packet, rest, err := cut(payload)
		if err != nil {
			return nil, err
		}
		packets = append(packets, packet)
		payload = rest
	}
	return packets, nil
}

// cut takes the first packet off a version 3 payload.
func cut(payload []byte) (packet, rest []byte, err error) {
	const digitsMax = 8
	colon := bytes.IndexByte(payload[:min(len(payload), digitsMax+1)], ':')
	if colon < 1 {
		return nil, nil, errPayload
	}
	length := 0
	for _, digit := range payload[:colon] {
		if digit < '0' || digit > '9' {
			return nil, nil, errPayload
		}
		length = length*10 + int(digit-'0')
	}
	rest = payload[colon+1:]
	end := 0
	for length > 0 && end < len(rest) {
		r, size := utf8.DecodeRune(rest[end:])
		end += size
		length -= width(r)
	}
	if length != 0 {
		return nil, nil, errPayload
	}
	return rest[:end], rest[end:], nil
}

// units is the length of text in UTF-16 code units.
func units(text []byte) int {
	n := 0
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			n++
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		n += width(r)
		i += size
	}
	return n
}

// width is how many UTF-16 code units a character takes.
func width(r rune) int {
	if r >= 0x10000 {
		return 2
	}
	return 1
}
