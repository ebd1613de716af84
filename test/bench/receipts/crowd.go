package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"parley/internal/load"
)

// The crowd is a process of its own: what it costs to be thousands of clients then delays the
// measured one no more than it delays the server. It is told what to do on its standard input, line
// by line, and answers each line with one.

// orders is the first line: who is to log in where.
type orders struct {
	URL    string
	Room   string
	Native bool
	Tokens []string
}

// counts is the answer to every line.
type counts struct {
	Told     int64 // texts
	Answered int64 // receipts
	Refused  int64 // whatever was asked
}

// crowd is the sessions that listen.
type crowd struct {
	room        string
	protocol    *protocol
	acknowledge atomic.Bool
	told        atomic.Int64
	answered    atomic.Int64
	refused     atomic.Int64

	sockets []*load.Conn
	readers sync.WaitGroup
}

// loginsAtOnce is how many sessions log in at the same time.
const loginsAtOnce = 16

// listen is the life of the process. "acknowledge" makes the sessions acknowledge texts from then on,
// "ignore" lets them be; every other line only asks for the counts.
func listen(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	var o orders
	if err := lines.Decode(&o); err != nil {
		return fmt.Errorf("read the orders: %w", err)
	}
	c, err := gather(ctx, o)
	if err != nil {
		return err
	}
	defer c.close()
	answers := json.NewEncoder(out)
	for {
		if err := answers.Encode(counts{c.told.Load(), c.answered.Load(), c.refused.Load()}); err != nil {
			return err
		}
		var what string
		if err := lines.Decode(&what); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if what != "" {
			c.acknowledge.Store(what == "acknowledge")
		}
	}
}

func gather(ctx context.Context, o orders) (*crowd, error) {
	c := &crowd{room: o.Room, protocol: protocolOf(o.Native), sockets: make([]*load.Conn, len(o.Tokens))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loginsAtOnce)
	for i, token := range o.Tokens {
		g.Go(func() (err error) {
			c.sockets[i], err = c.protocol.open(ctx, o.URL, token, o.Room)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	for _, s := range c.sockets {
		c.readers.Go(func() { c.read(s) })
	}
	return c, nil
}

// read takes what a session is told until its socket ends, and acknowledges texts as the SDK does.
func (c *crowd) read(s *load.Conn) {
	_ = s.Frames(func(packet []byte) (stop bool) { // ends with the process
		switch c.protocol.kind(packet) {
		case told:
			c.told.Add(1)
			if c.acknowledge.Load() {
				return s.Send(opText, fmt.Appendf(nil, c.protocol.receipt, c.room, c.protocol.sequenceOf(packet))) != nil
			}
		case noted:
			c.answered.Add(1)
		case refused:
			c.refused.Add(1)
		}
		return false
	})
}

func (c *crowd) close() {
	for _, s := range c.sockets {
		_ = s.Close() // the process ends
	}
	c.readers.Wait()
}
