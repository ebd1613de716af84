package socket

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// outgoing looks at what was written: how much of it the peer's system has confirmed, and whether
// some waits for the peer's window. A peer that does not read confirms nothing more once its
// window is full.
func outgoing(c net.Conn) (acked uint64, waits bool) {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = wrapped.NetConn()
	}
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			acked, waits = info.Bytes_acked, info.Notsent_bytes > 0
		}
	})
	if err != nil {
		return 0, false
	}
	return acked, waits
}
