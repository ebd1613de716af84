package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"parley/internal/load"
)

// writer is the session whose sends are measured.
type writer struct {
	room     string
	protocol *protocol
	socket   *load.Conn
	refused  int
	acks     chan answer // what a text was answered; the reader fills it, and closes it at its end
	reader   sync.WaitGroup
}

type answer struct {
	at      time.Time
	refused bool
}

func newWriter(ctx context.Context, p *protocol, url, token, room string) (*writer, error) {
	s, err := p.open(ctx, url, token, room)
	if err != nil {
		return nil, err
	}
	w := &writer{room: room, protocol: p, socket: s, acks: make(chan answer, 1)}
	w.reader.Go(w.read)
	return w, nil
}

func (w *writer) read() {
	defer close(w.acks)
	_ = w.socket.Frames(func(packet []byte) bool { // talk sees that it has ended
		switch w.protocol.kind(packet) {
		case accepted:
			w.acks <- answer{at: time.Now()}
		case refused:
			w.acks <- answer{at: time.Now(), refused: true} // it is answered, if not as one would wish
		}
		return false
	})
}

// talk sends texts, one after each gap, and measures, from the time at which each was due, until it was
// answered: a send that waits for the one before it has waited. The latencies go to h.
func (w *writer) talk(gap func() time.Duration, lasts time.Duration, h *hdrhistogram.Histogram) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due, end := time.Now().Add(gap()), time.Now().Add(lasts); due.Before(end); due = due.Add(gap()) {
		timer.Reset(time.Until(due))
		<-timer.C
		if err := w.socket.Send(opText, fmt.Appendf(nil, w.protocol.text, w.room, due.UnixNano())); err != nil {
			return err
		}
		a, ok := <-w.acks
		if !ok {
			return fmt.Errorf("the writer was disconnected")
		}
		if a.refused {
			w.refused++
		}
		if err := h.RecordValue(max(a.at.Sub(due).Microseconds(), 1)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) close() error {
	err := w.socket.Close()
	for range w.acks { // the reader may want to leave one
	}
	w.reader.Wait()
	return err
}
