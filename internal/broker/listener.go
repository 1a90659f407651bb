package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// Listeners are the sockets that a broker accepts connections on. Each may be nil.
type Listeners struct{ Plain, TLS, WebSocket net.Listener }

// Close closes all of them. It is for listeners that no broker has been given, and does no harm
// to others.
func (ls Listeners) Close() {
	for _, l := range []net.Listener{ls.Plain, ls.TLS, ls.WebSocket} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// listener accepts connections for mochi. It survives running out of file descriptors, bounds
// connections in all and per address, sets a deadline for the CONNECT, and keeps a panic in one
// connection from ending the process.
type listener struct {
	net.Listener
	id      string
	open    opener
	cfg     Config
	limiter *connLimiter
	journal *connJournal
	serving sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]*slot
	stopping bool
	closed   bool
}

// opener does what precedes MQTT on a connection: a TLS handshake, an upgrade to WebSocket.
// certName is the common name in the client's verified certificate, or empty. The returned
// connection may have lost its deadline.
type opener func(net.Conn) (conn net.Conn, certName string, err error)

const (
	// drainTime is how long telling clients that the broker stops may take.
	drainTime = time.Second
	// overLimitTimeout is how long a connection over the limit may take to send its CONNECT, which
	// is needed to refuse it with a reason.
	overLimitTimeout = time.Second
)

var errHandshake = errors.New("mqtt: the connection could not be opened")

func newListener(
	id string, l net.Listener, open opener, limiter *connLimiter, journal *connJournal,
) *listener {
	return &listener{
		Listener: l,
		id:       id,
		open:     open,
		cfg:      limiter.cfg,
		limiter:  limiter,
		journal:  journal,
		conns:    map[net.Conn]*slot{},
	}
}

// ID, Address, Protocol and Init are required by mochi.
func (l *listener) ID() string              { return l.id }
func (l *listener) Address() string         { return l.Addr().String() }
func (l *listener) Protocol() string        { return l.Addr().Network() }
func (l *listener) Init(*slog.Logger) error { return nil }

// Serve accepts connections and passes each to establish, until the listener is closed.
func (l *listener) Serve(establish listeners.EstablishFn) {
	const minDelay, maxDelay = 5 * time.Millisecond, 500 * time.Millisecond
	delay := minDelay
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if delay == minDelay {
				l.journal.log.Warn("accepting mqtt connection failed, retrying", "error", err)
			}
			time.Sleep(delay) // nothing signals that file descriptors are free again
			delay = min(2*delay, maxDelay)
			continue
		}
		delay = minDelay
		s := l.admit(conn)
		if s == nil {
			_ = conn.Close()
			continue
		}
		go l.serve(establish, conn, s)
	}
}

func (l *listener) serve(establish listeners.EstablishFn, accepted net.Conn, sl *slot) {
	defer l.serving.Done()
	defer l.release(accepted, sl)
	s := newSocket(accepted, &l.limiter.pending)
	defer s.finish()
	c := &conn{socket: s, cfg: l.cfg, overLimit: sl.overLimit}
	err := l.run(establish, c)
	if c.login != nil {
		c.login.end()
	}
	_ = s.Close()
	l.journal.record(c, err, l.isStopping())
}

// run opens c, waits for its CONNECT and has mochi serve it. A panic ends this connection only.
func (l *listener) run(establish listeners.EstablishFn, c *conn) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.noteEnd(reasonInternal)
			if count, ok := l.journal.panics.allow(""); ok {
				l.journal.log.Error("mqtt connection panicked", "panic", r, "count", count, "stack",
					string(debug.Stack()))
			}
		}
	}()
	timeout := l.cfg.ConnectTimeout
	if c.overLimit {
		timeout = min(timeout, overLimitTimeout)
	}
	deadline := time.Now().Add(timeout) // replaced when the client has logged in
	if err := c.socket.SetDeadline(deadline); err != nil {
		return err
	}
	if c.Conn, c.certName, err = l.open(c.socket); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if err := c.readConnect(); err != nil {
		return err
	}
	if !l.addClient() {
		return nil
	}
	defer l.limiter.clients.Done()
	return establish(l.ID(), c)
}

// Close stops accepting and disconnects all clients. Clients that do not read within drainTime,
// or have not logged in, are disconnected without a DISCONNECT.
func (l *listener) Close(closeClients listeners.CloseFn) {
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	_ = l.Listener.Close()
	timer := time.AfterFunc(drainTime, l.closeAll)
	defer timer.Stop()
	closeClients(l.ID())
	l.closeAll()
}

// closeAll closes every connection, and makes admit refuse further ones.
func (l *listener) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// admit returns a slot for the connection, or nil when it must be closed at once.
func (l *listener) admit(conn net.Conn) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	s := l.limiter.acquire(conn.RemoteAddr())
	if s != nil {
		l.conns[conn] = s
		l.serving.Add(1)
	}
	return s
}

func (l *listener) isStopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}

// addClient adds a client to the group that mochi waits for, and reports whether it could: a group
// that mochi already waits for must not grow.
func (l *listener) addClient() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.limiter.clients.Add(1)
	}
	return !l.closed
}

func (l *listener) release(conn net.Conn, s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	l.limiter.release(s)
}

// plain opens a connection that starts with MQTT.
func plain(conn net.Conn) (net.Conn, string, error) { return conn, "", nil }
