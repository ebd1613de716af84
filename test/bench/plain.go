package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"parley/internal/load"
)

// plain is the baseline's protocol.
type plain struct{ address string }

func (p *plain) Prepare(context.Context, int, int) error { return nil }

func (p *plain) Open(ctx context.Context, room, _ int) (*load.Conn, error) {
	c, err := load.Dial(ctx, p.address, "")
	if err != nil {
		return nil, err
	}
	if err := c.Send(p.Opcode(), fmt.Appendf(nil, "J %d", room)); err != nil {
		return nil, err
	}
	return c, c.Frames(func([]byte) bool { return true })
}

func (p *plain) Post(dst []byte, room int, stamp int64) []byte {
	dst = fmt.Appendf(dst, "P %d %d ", room, stamp)
	return append(dst, strings.Repeat(".", 108)...)
}

func (p *plain) Kind(payload []byte) load.Kind {
	switch payload[0] {
	case 'M':
		return load.Delivery
	case 'A':
		return load.Ack
	}
	return load.Other
}

func (p *plain) Stamp(payload []byte) (int64, bool) {
	digits, _, _ := strings.Cut(string(payload[2:min(len(payload), 24)]), " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

func (p *plain) Opcode() byte { return 1 }
