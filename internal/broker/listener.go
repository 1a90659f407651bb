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

// listener accepts connections for the broker. It outlives a lack of file descriptors, bounds
// connections in all and from one address, gives each a deadline for its CONNECT, and keeps a panic
// in one connection from ending the process.
type listener struct {
	net.Listener
	id      string
	open    opener
	cfg     Config
	crowd   *crowd
	journal *connJournal
	serving sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]*visit
	stopping bool
	closed   bool
}

// opener does what comes before MQTT on a connection: a TLS handshake, becoming a WebSocket.
// certified is the name in the client's certificate, "" when it has shown none. What it returns may
// have lost its deadline.
type opener func(net.Conn) (conn net.Conn, certified string, err error)

// farewell is how long clients may take to be told that the broker stops.
const farewell = time.Second

// surplusTime is how long one that is too many may take to say who it is, in order to be told.
const surplusTime = time.Second

var errHandshake = errors.New("mqtt: the connection could not be opened")

func newListener(
	id string, l net.Listener, open opener, crowd *crowd, journal *connJournal,
) *listener {
	return &listener{
		Listener: l,
		id:       id,
		open:     open,
		cfg:      crowd.cfg,
		crowd:    crowd,
		journal:  journal,
		conns:    map[net.Conn]*visit{},
	}
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
				l.journal.log.Warn("cannot accept mqtt connections, trying again", "error", err)
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

func (l *listener) serve(establish listeners.EstablishFn, socket net.Conn, v *visit) {
	defer l.serving.Done()
	defer l.release(socket, v)
	w := newWire(socket, &l.crowd.pending)
	defer w.finish()
	c := &conn{wire: w, cfg: l.cfg, surplus: v.surplus}
	err := l.run(establish, c)
	if c.login != nil {
		c.login.leave()
	}
	_ = w.Close()
	l.journal.record(c, err, l.isStopping())
}

// run opens c, waits for its CONNECT and has the broker serve it. A panic ends this connection
// only.
func (l *listener) run(establish listeners.EstablishFn, c *conn) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.end(reasonInternal)
			if count, ok := l.journal.panics.allow(""); ok {
				l.journal.log.Error("mqtt connection panicked", "panic", r, "count", count, "stack",
					string(debug.Stack()))
			}
		}
	}()
	timeout := l.cfg.ConnectTimeout
	if c.surplus {
		timeout = min(timeout, surplusTime)
	}
	deadline := time.Now().Add(timeout) // lifted when the client is logged in
	if err := c.wire.SetDeadline(deadline); err != nil {
		return err
	}
	if c.Conn, c.certified, err = l.open(c.wire); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if err := c.awaitConnect(); err != nil {
		return err
	}
	if !l.begin() {
		return nil
	}
	defer l.crowd.clients.Done()
	return establish(l.ID(), c)
}

// Close stops accepting and disconnects everybody: those who do not listen, or have not logged in,
// without a word.
func (l *listener) Close(closeClients listeners.CloseFn) {
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
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

func (l *listener) isStopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}

// begin counts a client for the broker to wait for, unless the broker has begun to wait, which it
// would not notice.
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

// plain opens a connection that begins with MQTT.
func plain(conn net.Conn) (net.Conn, string, error) { return conn, "", nil }
