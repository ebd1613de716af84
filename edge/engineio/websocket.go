package engineio

import (
	"fmt"
	"net/http"
	"time"

	"parley/edge/socket"
)

// carrier is a Conn as the socket server sees it.
type carrier struct{ conn *Conn }

// Message implements socket.Handler.
func (w carrier) Message(binary bool, payload []byte) {
	if binary || !w.conn.packet(payload) {
		w.conn.Close(socket.Malformed)
	}
}

// Closed implements socket.Handler.
func (w carrier) Closed() {
	w.conn.server.agenda.remove(w.conn)
	w.conn.finish()
}

// acceptWebSocket opens a connection over a WebSocket.
func (s *Server) acceptWebSocket(w http.ResponseWriter, r *http.Request, version int) {
	err := s.sockets.Accept(w, r, nil, func(ws *socket.Conn) socket.Handler {
		ws.SetDeadline(time.Time{}, 0) // logging in late is the handler's business
		c := s.newConn(version, time.Now())
		c.socket.Store(ws)
		ws.Send(frame(s.hello(c, "")))
		c.handler = s.open(c, r)
		s.agenda.begin(c, c.pingAt)
		s.metrics.opened.WithLabelValues(versionName(version), "websocket").Inc()
		return carrier{c}
	})
	if err != nil {
		s.options.Logger.Debug("upgrade refused", "remote", r.RemoteAddr, "error", err)
	}
}

// hello is the open packet.
func (s *Server) hello(c *Conn, upgrade string) string {
	o := &s.options
	rest := ""
	if c.version >= 4 {
		rest = fmt.Sprintf(`,"maxPayload":%d`, o.PayloadBytesMax)
	}
	return fmt.Sprintf(`%c{"sid":%q,"upgrades":[%s],"pingInterval":%d,"pingTimeout":%d%s}`,
		typeOpen, c.sid, upgrade, o.PingInterval.Milliseconds(), o.PingTimeout.Milliseconds(), rest)
}

// probe is the WebSocket to which a polling connection wants to be upgraded. Until the client
// says so the connection goes on polling; if it never does, the socket's own deadline ends it.
type probe struct {
	conn   *Conn
	socket *socket.Conn
	begun  bool // owned by the reader: polls are not held because of this probe
	taken  bool // owned by the reader: the connection is carried by this socket
}

// probeWebSocket begins an upgrade.
func (s *Server) probeWebSocket(w http.ResponseWriter, r *http.Request, c *Conn) {
	err := s.sockets.Accept(w, r, nil, func(ws *socket.Conn) socket.Handler { return &probe{conn: c, socket: ws} })
	if err != nil {
		s.options.Logger.Debug("upgrade refused", "remote", r.RemoteAddr, "error", err)
	}
}

// Message implements socket.Handler.
func (p *probe) Message(binary bool, payload []byte) {
	switch {
	case p.taken:
		carrier{p.conn}.Message(binary, payload)
	case !binary && string(payload) == "2probe":
		p.socket.Send(frame("3probe"))
		if !p.begun {
			p.begun = true
			p.conn.beginUpgrade()
		}
	case !binary && string(payload) == "5":
		p.taken = p.conn.upgradeTo(p.socket)
		if !p.taken {
			p.socket.Close(socket.Protocol)
		}
	default:
		p.socket.Close(socket.Malformed)
	}
}

// Closed implements socket.Handler.
func (p *probe) Closed() {
	switch {
	case p.taken:
		carrier{p.conn}.Closed()
	case p.begun:
		p.conn.giveUpUpgrade()
	}
}

// beginUpgrade releases the poll that waits: the client does not finish the upgrade before.
func (c *Conn) beginUpgrade() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upgrading++
	c.release()
}

// giveUpUpgrade has polls held again: the client goes on polling, and what is answered at once is asked again at once.
func (c *Conn) giveUpUpgrade() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upgrading--
}

// upgradeTo moves the connection to ws, with what is queued.
func (c *Conn) upgradeTo(ws *socket.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.ended || c.socket.Load() != nil {
		return false
	}
	ws.SetDeadline(time.Time{}, 0)
	var frames []byte
	for _, packet := range c.take() {
		frames = socket.AppendFrame(frames, socket.Text, packet)
	}
	ws.Inherit(frames)
	c.socket.Store(ws)
	c.ended = true // as a poller
	c.release()
	c.server.leave(c)
	c.server.metrics.upgrades.Inc()
	return true
}
