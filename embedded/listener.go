package embedded

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// listener accepts connections for the broker. It outlives a lack of file descriptors, bounds connections in all and from one
// address, gives each a deadline for its CONNECT, and keeps a panic in one connection from ending the process.
type listener struct {
	net.Listener
	cfg     BrokerConfig
	log     *slog.Logger
	serving sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]netip.Addr
	from   map[netip.Addr]int
	closed bool
}

// farewell is how long clients may take to be told that the broker stops.
const farewell = time.Second

func newListener(l net.Listener, cfg BrokerConfig, log *slog.Logger) *listener {
	return &listener{Listener: l, cfg: cfg, log: log, conns: map[net.Conn]netip.Addr{}, from: map[netip.Addr]int{}}
}

// ID, Address, Protocol and Init are what the broker asks of a listener.
func (l *listener) ID() string              { return "mqtt" }
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
		if !l.admit(conn) {
			_ = conn.Close()
			continue
		}
		go l.serve(establish, conn)
	}
}

func (l *listener) serve(establish listeners.EstablishFn, conn net.Conn) {
	defer l.serving.Done()
	defer l.release(conn)
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("an mqtt connection broke", "panic", r, "stack", string(debug.Stack()))
			_ = conn.Close()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(l.cfg.ConnectTimeout)); err != nil { // lifted when the client is logged in
		_ = conn.Close()
		return
	}
	if err := establish(l.ID(), patient{conn, l.cfg.WriteTimeout}); err != nil {
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

func (l *listener) admit(conn net.Conn) bool {
	ap, _ := netip.ParseAddrPort(conn.RemoteAddr().String()) // the zero address for what has none
	addr := ap.Addr().Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= l.cfg.MaxConnections || l.from[addr] >= l.cfg.MaxConnectionsPerAddress {
		return false
	}
	l.conns[conn] = addr
	l.from[addr]++
	l.serving.Add(1)
	return true
}

func (l *listener) release(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addr := l.conns[conn]
	delete(l.conns, conn)
	if l.from[addr]--; l.from[addr] == 0 {
		delete(l.from, addr)
	}
}

// patient is a connection whose every write has a deadline of its own, so that a client that does not read holds up nobody for
// long. The deadline that the broker sets, for its keep-alive, is of reading only.
type patient struct {
	net.Conn
	timeout time.Duration
}

func (c patient) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c patient) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
