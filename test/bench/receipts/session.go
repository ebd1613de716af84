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

// login connects as nexmo-client 4 does.
func login(ctx context.Context, url, token string) (*load.Conn, error) {
	s, err := load.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/rtc/?EIO=3&transport=websocket", "")
	if err != nil {
		return nil, err
	}
	request := fmt.Sprintf(`42["session:login",{"tid":"login","body":{"token":%q,"SDK_version":"4.0.2"}}]`, token)
	if err := s.Send(opText, []byte(request)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	var refused error
	err = s.Frames(func(packet []byte) bool {
		switch {
		case bytes.HasPrefix(packet, []byte(`42["session:success"`)):
			return true
		case bytes.HasPrefix(packet, []byte(`42["s`)):
			refused = fmt.Errorf("refused: %s", packet)
			return true
		}
		return false
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// sequenceOf is the id of a text that was told.
func sequenceOf(packet []byte) []byte {
	_, rest, _ := bytes.Cut(packet, []byte(`"id":`))
	end := bytes.IndexAny(rest, ",}")
	return rest[:max(end, 0)]
}
