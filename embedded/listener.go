package embedded

import (
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// Listeners are where a broker can be reached. Those that are nil are not there.
type Listeners struct{ Plain, TLS, WebSocket net.Listener }

// Close closes all of them. It is for those that no broker has been given, and harmless for others.
func (ls Listeners) Close() {
	for _, l := range []net.Listener{ls.Plain, ls.TLS, ls.WebSocket} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// listener accepts connections for the broker. It outlives a lack of file descriptors, bounds connections in all and from one
// address, gives each a deadline for its CONNECT, and keeps a panic in one connection from ending the process.
type listener struct {
	net.Listener
	id      string
	open    opener
	cfg     BrokerConfig
	crowd   *crowd
	log     *slog.Logger
	serving sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]*visit
	closed bool
}

// opener does what comes before MQTT on a connection: a TLS handshake, becoming a WebSocket. certified is the name in the client's
// certificate, "" when it has shown none. What it returns may have lost its deadline.
type opener func(net.Conn) (conn net.Conn, certified string, err error)

// farewell is how long clients may take to be told that the broker stops.
const farewell = time.Second

// surplusTime is how long one that is too many may take to say who it is, in order to be told.
const surplusTime = time.Second

func newListener(id string, l net.Listener, open opener, crowd *crowd, log *slog.Logger) *listener {
	return &listener{Listener: l, id: id, open: open, cfg: crowd.cfg, crowd: crowd, log: log, conns: map[net.Conn]*visit{}}
}

// ID, Address, Protocol and Init are what the broker asks of a listener.
func (l *listener) ID() string              { return l.id }
func (l *listener) Address() string         { return l.Addr().String() }
func (l *listener) Protocol() string        { return l.Addr().Network() }
func (l *listener) Init(*slog.Logger) error { return nil }

// Serve hands every connection to establish until the listener is closed.
func (l *listener) Serve(establish listeners.EstablishFn) {
	const firstPause, lastPause = 5 * time.Millisecond, 500 * time.Millisecond
	pause := firstPause
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if pause == firstPause {
				l.log.Warn("cannot accept mqtt connections, trying again", "error", err)
			}
			time.Sleep(pause) // nothing to wait for: descriptors come back unannounced
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		v := l.admit(conn)
		if v == nil {
			_ = conn.Close()
			continue
		}
		go l.serve(establish, conn, v)
	}
}

func (l *listener) serve(establish listeners.EstablishFn, conn net.Conn, v *visit) {
	defer l.serving.Done()
	defer l.release(conn, v)
	defer conn.Close()
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("an mqtt connection broke", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	timeout := l.cfg.ConnectTimeout
	if v.surplus {
		timeout = min(timeout, surplusTime)
	}
	deadline := time.Now().Add(timeout) // lifted when the client is logged in
	err := conn.SetDeadline(deadline)
	p := patient{Conn: conn, timeout: l.cfg.WriteTimeout, surplus: v.surplus}
	if err == nil {
		p.Conn, p.certified, err = l.open(conn)
	}
	if err == nil {
		err = p.Conn.SetDeadline(deadline)
	}
	if err == nil {
		p.Conn, err = connecting(p.Conn, l.cfg.MaxPacket)
	}
	if err == nil && l.begin() {
		defer l.crowd.clients.Done()
		err = establish(l.ID(), p)
	}
	if err != nil {
		l.log.Debug("mqtt connection ended", "remote", conn.RemoteAddr(), "error", err)
	}
}

// Close stops accepting and disconnects everybody: those who do not listen, or have not logged in, without a word.
func (l *listener) Close(closeClients listeners.CloseFn) {
	_ = l.Listener.Close()
	impatient := time.AfterFunc(farewell, l.cut)
	defer impatient.Stop()
	closeClients(l.ID())
	l.cut()
}

// cut closes every connection, and those that are still to come.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// admit lets a connection in, or returns nil.
func (l *listener) admit(conn net.Conn) *visit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	v := l.crowd.enter(conn.RemoteAddr())
	if v != nil {
		l.conns[conn] = v
		l.serving.Add(1)
	}
	return v
}

// begin counts a client for the broker to wait for, unless the broker has begun to wait, which it would not notice.
func (l *listener) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.crowd.clients.Add(1)
	}
	return !l.closed
}

func (l *listener) release(conn net.Conn, v *visit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	l.crowd.leave(v)
}

// patient is a connection whose every write has a deadline of its own, so that a client that does not read holds up nobody for
// long. The deadline that the broker sets, for its keep-alive, is of reading only.
type patient struct {
	net.Conn
	timeout   time.Duration
	certified string // by the client's certificate
	surplus   bool   // it is too many, and is only to be told so
}

func (c patient) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c patient) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// plain opens a connection that begins with MQTT.
func plain(conn net.Conn) (net.Conn, string, error) { return conn, "", nil }
