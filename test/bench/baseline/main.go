// Command baseline is the smallest honest broadcast server with coder/websocket, the yardstick of
// docs/benchmarks.md: one goroutine per direction, one Write per message and socket, no storage.
//
// Its protocol is text: "J room" joins and is echoed; "P room stamp rest" is acked with "A stamp"
// and sent to everybody in the room as "M stamp rest".
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// queueMax is how many messages may wait for one socket; more, and it is closed.
const queueMax = 4096

type client struct {
	socket *websocket.Conn
	queue  chan []byte // closed by nobody; full closes the client
}

type server struct {
	mu    sync.RWMutex
	rooms map[string]map[*client]struct{} // guarded by mu
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &server{rooms: map[string]map[*client]struct{}{}}
	h := &http.Server{Handler: s}
	fmt.Printf("ws://%s/\n", listener.Addr())
	var g errgroup.Group
	g.Go(func() error { return h.Serve(listener) })
	<-ctx.Done()
	if err := h.Close(); err != nil {
		return err
	}
	if err := g.Wait(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP is one connection.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	c := &client{socket: socket, queue: make(chan []byte, queueMax)}
	g, ctx := errgroup.WithContext(r.Context())
	g.Go(func() error { return c.write(ctx) })
	g.Go(func() error { return s.read(ctx, c) })
	_ = g.Wait() // the end of a client is no news
	s.leave(c)
	_ = socket.CloseNow()
}

func (c *client) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-c.queue:
			if err := c.socket.Write(ctx, websocket.MessageText, m); err != nil {
				return err
			}
		}
	}
}

func (s *server) read(ctx context.Context, c *client) error {
	for {
		_, m, err := c.socket.Read(ctx)
		if err != nil {
			return err
		}
		parts := bytes.SplitN(m, []byte(" "), 3)
		switch {
		case len(parts) == 2 && parts[0][0] == 'J':
			s.join(string(parts[1]), c)
			c.put(m)
		case len(parts) == 3 && parts[0][0] == 'P':
			stamp, _, _ := bytes.Cut(parts[2], []byte(" "))
			c.put(append([]byte("A "), stamp...))
			s.broadcast(string(parts[1]), append([]byte("M "), parts[2]...))
		default:
			return fmt.Errorf("unknown message %q", m)
		}
	}
}

func (s *server) join(room string, c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[room] == nil {
		s.rooms[room] = map[*client]struct{}{}
	}
	s.rooms[room][c] = struct{}{}
}

func (s *server) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, members := range s.rooms {
		delete(members, c)
	}
}

func (s *server) broadcast(room string, m []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for c := range s.rooms[room] {
		c.put(m)
	}
}

func (c *client) put(m []byte) {
	select {
	case c.queue <- m:
	default:
		_ = c.socket.CloseNow()
	}
}
