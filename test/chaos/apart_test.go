//go:build chaos && linux

package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// apartVariable says to a copy of this program that it is a crowd that another one leads.
const apartVariable = "PARLEY_CHAOS_APART"

// crowdNice is how much a crowd apart gives way to everybody else: clients have machines of their
// own, and only here share the processors of the nodes.
const crowdNice = 10

// apart is a crowd in a process of its own, so that what it costs to be ten thousand clients, the
// scheduler and the garbage included, is not measured in others' sends.
type apart struct {
	t       *testing.T
	process *exec.Cmd
	said    bytes.Buffer // by the process; read it when it has ended
	orders  io.Closer
	send    *json.Encoder
	receive *json.Decoder
}

// order is what a crowd apart is told; it answers when it is done.
type order struct {
	Do                     string // one of the names in obey
	Edges                  []string
	Conversations, Members int
	Rate                   float64
	Login                  time.Duration
}

// done is the answer to an order: how often the clients have logged in by then.
type done struct{ Logins int }

// gatherApart is gather in a process of its own.
func gatherApart(t *testing.T, s shape, edges []string) *apart {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &apart{t: t}
	a.process = exec.Command("nice", "-n", strconv.Itoa(crowdNice), self, "-test.v", "-test.run", "^TestCrowdApart$")
	a.process.Env = append(os.Environ(), apartVariable+"=yes")
	a.process.Stdout, a.process.Stderr = &a.said, &a.said
	a.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	orders, err := a.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.process.ExtraFiles = []*os.File{w} // descriptor 3
	err = errors.Join(a.process.Start(), w.Close())
	t.Cleanup(func() {
		a.leave()
		_ = answers.Close() // it was read to its end
	})
	if err != nil {
		t.Fatal(err)
	}
	a.orders, a.send, a.receive = orders, json.NewEncoder(orders), json.NewDecoder(answers)
	a.do(order{Do: "gather", Edges: edges, Conversations: s.conversations, Members: s.members, Login: s.login})
	return a
}

// do gives an order and waits until it is done.
func (a *apart) do(o order) done {
	a.t.Helper()
	var d done
	err := a.send.Encode(o)
	if err == nil {
		err = a.receive.Decode(&d)
	}
	if err != nil {
		a.leave()
		a.t.Fatalf("the crowd apart: %s: %v", o.Do, err)
	}
	return d
}

// leave ends the process and fails the test if the crowd has seen a broken promise. It may be called
// twice.
func (a *apart) leave() {
	a.t.Helper()
	if a.orders == nil {
		return
	}
	_ = a.orders.Close() // it reads to the end, then leaves
	a.orders = nil
	if err := a.process.Wait(); err != nil {
		a.t.Errorf("the crowd apart: %v\n%s", err, a.said.Bytes())
		return
	}
	a.t.Logf("the crowd apart:\n%s", a.said.Bytes())
}

// TestCrowdApart is no test of its own: it is the process behind apart.
func TestCrowdApart(t *testing.T) {
	if os.Getenv(apartVariable) == "" {
		t.Skip("another test starts this")
	}
	answers := os.NewFile(3, "answers")
	defer answers.Close()
	send, receive := json.NewEncoder(answers), json.NewDecoder(os.Stdin)
	var w *crowd
	for {
		var o order
		err := receive.Decode(&o)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if o.Do == "gather" {
			s := shape{conversations: o.Conversations, members: o.Members, login: o.Login}
			w = gather(&cluster{t: t}, s, o.Edges)
		} else if err := w.obey(o); err != nil {
			t.Fatal(err)
		}
		if err := send.Encode(done{w.logins()}); err != nil {
			t.Fatal(err)
		}
	}
}

// obey is the table of contents of what a crowd apart does.
func (w *crowd) obey(o order) error {
	switch o.Do {
	case "pace":
		w.pace(o.Rate)
	case "one ack":
		w.recoveredOne(time.Now())
	case "offer":
		for _, m := range w.chatters {
			m.offer(o.Edges)
		}
	case "come back":
		w.cluster.until("everybody back", func() bool {
			return !slices.ContainsFunc(w.chatters, func(m *chatter) bool { return !m.connected() })
		})
	case "settle":
		w.settle()
	case "check":
		w.check(o.Edges)
	default:
		return fmt.Errorf("a crowd does not know how to %q", o.Do)
	}
	return nil
}
