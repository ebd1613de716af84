//go:build chaos && linux

package chaos

import (
	endian "encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// home is a thread in a network namespace of its own. What is started from it lives in that
// namespace, and ends with it.
type home struct {
	thread int
	cable  string // its end here; a namespace takes its time to go, and the cable with it
	work   chan func()
	ended  chan struct{}
}

func newHome() (*home, error) {
	h := &home{work: make(chan func()), ended: make(chan struct{})}
	began := make(chan error)
	go func() {
		defer close(h.ended)
		runtime.LockOSThread() // for good: the thread ends with this function, and is of no use to others
		h.thread = unix.Gettid()
		began <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range h.work {
			f()
		}
	}()
	if err := <-began; err != nil {
		return nil, errors.Join(fmt.Errorf("new network namespace: %w", err), h.close())
	}
	return h, nil
}

// do runs f in the namespace. A nil home is the namespace of this program.
func (h *home) do(f func() error) error {
	if h == nil {
		return f()
	}
	answer := make(chan error, 1)
	h.work <- func() { answer <- f() }
	return <-answer
}

// start starts a process there. It dies with the home.
func (h *home) start(c *exec.Cmd) error {
	if h != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	return h.do(c.Start)
}

func (h *home) close() error {
	if h == nil {
		return nil
	}
	var err error
	if h.cable != "" {
		err = run("ip", "link", "del", h.cable)
	}
	close(h.work)
	<-h.ended
	return err
}

// connect gives the home two networks: one cable to this program, for clients, and a port of the
// switch between nodes. It returns the client's and the node's address.
func (h *home) connect(n *network, id int) (addresses [2]string, err error) {
	cable, peer := fmt.Sprintf("c%d", id), "clients"
	addresses = [2]string{fmt.Sprintf("10.77.%d.2", id), fmt.Sprintf("10.78.0.%d", id)}
	err = errors.Join(
		run("ip", "link", "add", cable, "type", "veth", "peer", "name", peer, "netns", strconv.Itoa(h.thread)),
		run("ip", "addr", "add", fmt.Sprintf("10.77.%d.1/24", id), "dev", cable),
		run("ip", "link", "set", cable, "up"))
	if err != nil {
		return addresses, err
	}
	h.cable = cable
	return addresses, h.do(func() error {
		err := errors.Join(
			run("ip", "link", "set", "lo", "up"),
			run("ip", "addr", "add", addresses[0]+"/24", "dev", peer),
			run("ip", "link", "set", peer, "up"))
		if err != nil {
			return err
		}
		tap, err := openTAP("nodes")
		if err != nil {
			return err
		}
		n.plug(id, tap)
		return errors.Join(
			run("ip", "link", "set", "nodes", "address", fmt.Sprintf("02:50:00:00:00:%02x", id)),
			run("ip", "addr", "add", addresses[1]+"/24", "dev", "nodes"),
			run("ip", "link", "set", "nodes", "up"))
	})
}

// openTAP makes a network interface whose frames are read and written here.
func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("make the interface %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// link is one direction between two nodes.
type link struct{ from, to int }

// quality is what happens to the frames of a link. The zero value is a perfect one.
type quality struct {
	down      bool
	loss      float64 // share of frames, 0 to 1
	duplicate float64
	delay     time.Duration
	jitter    time.Duration // added to delay, uniform from 0: frames overtake each other
}

// network is a switch between the nodes, in this program. A frame is read from one port and
// written to another, or whatever the link's quality says.
type network struct {
	readers sync.WaitGroup
	late    sync.WaitGroup // frames under way

	mu    sync.Mutex // guards what follows
	ports map[int]*os.File
	links map[link]quality
}

func newNetwork() *network {
	return &network{ports: map[int]*os.File{}, links: map[link]quality{}}
}

func (n *network) plug(id int, tap *os.File) {
	n.mu.Lock()
	n.ports[id] = tap
	n.mu.Unlock()
	n.readers.Go(func() {
		frame := make([]byte, 1<<16)
		for {
			size, err := tap.Read(frame)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil && size >= 14 {
				n.forward(id, frame[:size])
			}
		}
	})
}

// forward looks at the last byte of the destination's address: that is the port; all else is for all.
func (n *network) forward(from int, frame []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for to, port := range n.ports {
		if to == from || frame[0]&1 == 0 && int(frame[5]) != to {
			continue
		}
		n.pass(port, n.links[link{from, to}], frame)
	}
}

func (n *network) pass(port *os.File, q quality, frame []byte) {
	const arp = 0x0806
	if endian.BigEndian.Uint16(frame[12:]) == arp {
		q = quality{} // who has which address is not part of a fault
	}
	if q.down || q.loss > 0 && rand.Float64() < q.loss {
		return
	}
	copies := 1
	if q.duplicate > 0 && rand.Float64() < q.duplicate {
		copies = 2
	}
	for range copies {
		if q.delay == 0 && q.jitter == 0 {
			_, _ = port.Write(frame) // a full queue loses it, as a switch does
			continue
		}
		wait := q.delay
		if q.jitter > 0 {
			wait += rand.N(q.jitter)
		}
		late := append([]byte(nil), frame...)
		n.late.Add(1)
		time.AfterFunc(wait, func() {
			defer n.late.Done()
			_, _ = port.Write(late)
		})
	}
}

// set gives one direction a quality.
func (n *network) set(from, to int, q quality) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[link{from, to}] = q
}

// heal makes every link perfect.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = map[link]quality{}
}

func (n *network) close() error {
	n.mu.Lock()
	var problems []error
	for _, port := range n.ports {
		problems = append(problems, port.Close())
	}
	n.mu.Unlock()
	n.readers.Wait()
	n.late.Wait()
	return errors.Join(problems...)
}
