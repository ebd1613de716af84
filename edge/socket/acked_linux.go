package socket

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ackedBytes is how much of what was written the peer's system has confirmed; 0 = not known. A
// peer that does not read confirms nothing more once its window is full.
func ackedBytes(c net.Conn) uint64 {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = wrapped.NetConn()
	}
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var acked uint64
	err = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			acked = info.Bytes_acked
		}
	})
	if err != nil {
		return 0
	}
	return acked
}
