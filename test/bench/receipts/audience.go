package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"
)

// audience is the crowd as its parent process has it.
type audience struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	orders  *json.Encoder
	answers *json.Decoder
}

// niceness is by how much less the system favours the crowd: in production it has machines of its own,
// so here it takes what the node leaves.
const niceness = "19"

// assemble starts the crowd's process and waits until all are logged in.
func assemble(ctx context.Context, o orders) (*audience, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &audience{cmd: exec.CommandContext(ctx, "nice", "-n", niceness, self, "-listen")}
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	a.orders, a.answers = json.NewEncoder(a.in), json.NewDecoder(out)
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	_, err = a.say(o)
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// say gives the crowd a line and takes the answer.
func (a *audience) say(line any) (c counts, err error) {
	if err := a.orders.Encode(line); err != nil {
		return c, err
	}
	return c, a.answers.Decode(&c)
}

// settle waits until the sessions have been told so many texts since before, and so many of their
// receipts have been answered.
func (a *audience) settle(before counts, texts, receipts int64) (counts, error) {
	const look, patience = 100 * time.Millisecond, 30 * time.Second
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for begin := time.Now(); ; <-ticker.C {
		now, err := a.say("")
		done := now.Told-before.Told >= texts && now.Answered+now.Refused-before.Answered-before.Refused >= receipts
		if err != nil || done || time.Since(begin) > patience {
			return now, err
		}
	}
}

func (a *audience) close() error { return errors.Join(a.in.Close(), a.cmd.Wait()) }
