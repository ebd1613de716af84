package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"parley/internal/load"
)

// opText is the opcode of a text frame (RFC 6455, section 5.2).
const opText = 0x1

// kind is what a packet of the server is.
type kind int

const (
	other kind = iota
	welcome
	told     // a text
	accepted // a text of the session's own
	noted    // a receipt of the session's own
	refused  // whatever was asked
)

// protocol is what the sessions speak.
type protocol struct {
	path, subprotocol string
	beginnings        []beginning // of packets
	refusals          string      // is in every refusal
	sequence          string      // what stands before a text's number
	login             []string    // what a session says to be told of a room, of token and room
	text, receipt     string      // what it says then: of room and stamp, of room and sequence
}

// beginning is what packets of a kind begin with.
type beginning struct {
	with []byte
	kind kind
}

// legacy is what nexmo-client 4 speaks.
var legacy = protocol{
	path: "/rtc/?EIO=3&transport=websocket",
	beginnings: []beginning{
		{[]byte(`42["text",`), told}, {[]byte(`42["text:delivered:success"`), noted},
		{[]byte(`42["text:success"`), accepted}, {[]byte(`42["session:success"`), welcome},
	},
	refusals: `"code":`, sequence: `"id":`,
	login:   []string{`42["session:login",{"tid":"login","body":{"token":%[1]q,"SDK_version":"4.0.2"}}]`},
	text:    `42["text",{"tid":"t%[2]d","cid":%[1]q,"body":{"text":"a text as people write them"}}]`,
	receipt: `42["text:delivered",{"tid":"d","cid":%[1]q,"body":{"event_id":%[2]s}}]`,
}

// native is Parley's own protocol.
var native = protocol{
	path: "/v1/realtime", subprotocol: "parley.v1.json",
	beginnings: []beginning{
		{[]byte(`{"type":"events"`), told}, {[]byte(`{"type":"ack","id":"d"`), noted},
		{[]byte(`{"type":"ack","id":"t`), accepted}, {[]byte(`{"type":"ack","id":"s"`), welcome},
	},
	refusals: `{"type":"error"`, sequence: `"sequence":`,
	login:   []string{`{"type":"hello","id":"h","token":%[1]q}`, `{"type":"subscribe","id":"s","conversation":%[2]q}`},
	text:    `{"type":"post","id":"t%[2]d","conversation":%[1]q,"event_type":"text","body":{"text":"a text as people write them"}}`,
	receipt: `{"type":"receipt","id":"d","conversation":%[1]q,"delivered":%[2]s}`,
}

// protocolOf gives one of the two.
func protocolOf(isNative bool) *protocol {
	if isNative {
		return &native
	}
	return &legacy
}

// kind says what a packet is.
func (p *protocol) kind(packet []byte) kind {
	for _, b := range p.beginnings {
		if bytes.HasPrefix(packet, b.with) {
			return b.kind
		}
	}
	if bytes.Contains(packet, []byte(p.refusals)) {
		return refused
	}
	return other
}

// open connects and waits until the session is told of the room.
func (p *protocol) open(ctx context.Context, url, token, room string) (*load.Conn, error) {
	s, err := load.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+p.path, p.subprotocol)
	if err != nil {
		return nil, err
	}
	for _, say := range p.login {
		if err := s.Send(opText, fmt.Appendf(nil, say, token, room)); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	var no error
	err = s.Frames(func(packet []byte) bool {
		k := p.kind(packet)
		if k == refused {
			no = fmt.Errorf("refused: %s", packet)
		}
		return k == welcome || k == refused
	})
	if err = errors.Join(err, no); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// sequenceOf is the number of a text that was told.
func (p *protocol) sequenceOf(packet []byte) []byte {
	_, rest, _ := bytes.Cut(packet, []byte(p.sequence))
	end := bytes.IndexAny(rest, ",}")
	return rest[:max(end, 0)]
}
