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
	body []byte // a JSON object, {} if there was none
}

// errRequest says that an event's arguments cannot be read.
var errRequest = errors.New("an event is [name, object]")

// readRequest reads the data of an event packet.
func readRequest(data []byte, depth, members int) (*request, error) {
	if !utf8.Valid(data) {
		return nil, errRequest
	}
	if err := limit.JSON(data, depth, members); err != nil {
		return nil, err
	}
	var arguments []json.RawMessage
	if json.Unmarshal(data, &arguments) != nil || len(arguments) == 0 {
		return nil, errRequest
	}
	r := &request{body: []byte("{}")}
	if json.Unmarshal(arguments[0], &r.kind) != nil || r.kind == "" {
		return nil, errRequest
	}
	var payload struct {
		Rid  json.RawMessage `json:"tid"`
		Cid  any             `json:"cid"`
		From any             `json:"from"`
		To   any             `json:"to"`
		Body json.RawMessage `json:"body"`
	}
	if len(arguments) > 1 && json.Unmarshal(arguments[1], &payload) != nil {
		return nil, errRequest
	}
	r.cid, r.from, r.to = text(payload.Cid), text(payload.From), text(payload.To)
	if rid := payload.Rid; len(rid) > 0 && rid[0] != '{' && rid[0] != '[' && string(rid) != "null" && len(rid) <= ridBytesMax {
		r.rid = rid
	}
	if len(payload.Body) > 0 && string(payload.Body) != "null" {
		r.body = payload.Body
	}
	return r, nil
}

// ridBytesMax bounds what is sent back of a request's id.
const ridBytesMax = 128

// text is a string, and nothing for any other value: old clients send null for absent.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// field reads a string of the body; "" for none or for another kind.
func (r *request) field(name string) string {
	var fields map[string]any
	if json.Unmarshal(r.body, &fields) != nil {
		return ""
	}
	return text(fields[name])
}

// object gives a member of the body if it is an object; nil otherwise.
func (r *request) object(name string) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(r.body, &fields) != nil || len(fields[name]) == 0 || fields[name][0] != '{' {
		return nil
	}
	return fields[name]
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
