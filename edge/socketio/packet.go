package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"parley/edge/engineio"
	"parley/edge/limit"
)

// The packet types of protocols 4 and 5, as they stand first in a packet.
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeAck          = '3'
	typeConnectError = '4'
)

// packet is one Socket.IO packet. Binary packets are not of this API.
type packet struct {
	kind      byte
	namespace string // "/" unless named
	ack       uint64 // of an ack, or wanted by an event
	hasAck    bool
	data      []byte // JSON, perhaps empty
}

var errPacket = errors.New("not a packet of this protocol")

// parse reads a packet. data stays part of content.
func parse(content []byte) (packet, error) {
	if len(content) == 0 || content[0] < typeConnect || content[0] > typeConnectError {
		return packet{}, errPacket
	}
	p := packet{kind: content[0], namespace: "/"}
	rest := content[1:]
	if len(rest) > 0 && rest[0] == '/' {
		end := bytes.IndexByte(rest, ',')
		if end < 0 {
			end = len(rest)
		}
		const namespaceMax = 128
		if end > namespaceMax {
			return packet{}, errPacket
		}
		// A query may follow the name; nobody asks for it.
		name, _, _ := bytes.Cut(rest[:end], []byte("?"))
		p.namespace = string(name)
		rest = rest[min(end+1, len(rest)):]
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		p.ack = p.ack*10 + uint64(rest[digits]-'0')
		digits++
	}
	const digitsMax = 16 // what JavaScript counts exactly
	if digits > digitsMax {
		return packet{}, errPacket
	}
	p.hasAck, p.data = digits > 0, rest[digits:]
	return p, nil
}

// request is an event of a client: what it wants, and the members of its payload that are read.
type request struct {
	kind string
	rid  json.RawMessage // the client's own id of the request, verbatim; nil = none
	cid  string
	from string
	to   string
	body []byte // JSON, {} if there was none
	// wrong is a member that must be a string and is something else.
	wrong string
}

// errRequest says that an event's arguments cannot be read.
var errRequest = errors.New("an event is [name, object]")

// readRequest reads the data of an event packet. The request's parts stay parts of data.
func readRequest(data []byte, depth, membersMax int) (*request, error) {
	if !utf8.Valid(data) {
		return nil, errRequest
	}
	if err := limit.JSON(data, depth, membersMax); err != nil {
		return nil, err
	}
	if data = bytes.TrimSpace(data); len(data) == 0 || data[0] != '[' || !json.Valid(data) {
		return nil, errRequest
	}
	r := &request{body: emptyObject}
	refused := false
	elements(data, func(i int, value []byte) {
		switch {
		case i == 0 && value[0] == '"':
			r.kind = text(value)
		case i == 1 && value[0] == '{':
			members(value, r.member)
		case i == 1 && value[0] != 'n': // null is as good as nothing
			refused = true
		}
	})
	if refused || r.kind == "" {
		return nil, errRequest
	}
	return r, nil
}

// emptyObject is the body of a request without one.
var emptyObject = []byte("{}")

// member takes a member of the payload. The last one of a name counts.
func (r *request) member(name, value []byte) {
	switch string(name) {
	case "tid":
		r.rid = nil
		if value[0] != '{' && value[0] != '[' && value[0] != 'n' && len(value) <= ridBytesMax {
			r.rid = value
		}
	case "cid":
		r.cid = r.string("cid", value)
	case "from":
		r.from = text(value)
	case "to":
		r.to = r.string("to", value) // left out, it would make a public event of a private one
	case "body":
		if r.body = value; value[0] == 'n' {
			r.body = emptyObject
		}
	}
}

// string is text for a member that may be absent but not of another kind.
func (r *request) string(name string, value []byte) string {
	if value[0] != '"' && value[0] != 'n' {
		r.wrong = name
	}
	return text(value)
}

// ridBytesMax bounds what is sent back of a request's id.
const ridBytesMax = 128

// text is a string, and nothing for any other value: old clients send null for absent.
func text(value []byte) string {
	if len(value) == 0 || value[0] != '"' {
		return ""
	}
	return string(unquoted(value))
}

// find gives a member of the body, nil when there is none.
func (r *request) find(wanted string) (found []byte) {
	if r.body[0] != '{' {
		return nil
	}
	members(r.body, func(name, value []byte) {
		if string(name) == wanted {
			found = value
		}
	})
	return found
}

// field reads a string of the body; "" for none or for another kind.
func (r *request) field(name string) string { return text(r.find(name)) }

// object gives a member of the body if it is an object; nil otherwise.
func (r *request) object(name string) []byte {
	if value := r.find(name); len(value) > 0 && value[0] == '{' {
		return value
	}
	return nil
}

// eventFrame is an event of the server: payload is a JSON object.
func eventFrame(name string, payload []byte) []byte {
	return engineio.AppendMessage(make([]byte, 0, len(payload)+len(name)+32), func(dst []byte) []byte {
		dst = append(dst, typeEvent, '[')
		dst = appendJSON(dst, name)
		dst = append(dst, ',')
		dst = append(dst, payload...)
		return append(dst, ']')
	})
}

// controlFrame is a packet of the server that is no event.
func controlFrame(kind byte, rest string) []byte {
	return engineio.AppendMessage(nil, func(dst []byte) []byte { return append(append(dst, kind), rest...) })
}

// appendJSON appends v, which is made of our own types and always has a JSON form.
func appendJSON(dst []byte, v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, out...)
}
