package broker

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// lingerTime is how long a client may take to read why its connection ends.
	lingerTime = time.Second
	// freeBeforeLogin is how many bytes a client may send before its login without a share of
	// maxBeforeLogin; an ordinary CONNECT is shorter.
	freeBeforeLogin = 2 << 10
	// maxBytesBeforeLogin is how many bytes one client may send before its login: TLS handshake,
	// HTTP upgrade and CONNECT.
	maxBytesBeforeLogin = 64 << 10
	// maxBeforeLogin is how many bytes beyond freeBeforeLogin all clients together may have sent
	// before their login.
	maxBeforeLogin = 8 << 20
)

var (
	errTooMuchBeforeLogin = errors.New("mqtt: too many bytes before the login")
	errNoMemory           = errors.New("mqtt: too many bytes of clients that have not logged in")
)

// wire is an accepted connection below TLS and WebSocket. It counts what is read before the login,
// and its Close lets the client read what was written before: closing a socket with unread input
// resets the connection, and the DISCONNECT or CONNACK that says why would be lost. finish closes
// the socket.
type wire struct {
	net.Conn
	pending *pendingLogins

	mu       sync.Mutex
	closed   bool
	loggedIn bool
	read     int // bytes, before the login
}

func newWire(socket net.Conn, pending *pendingLogins) *wire {
	pending.enter()
	return &wire{Conn: socket, pending: pending}
}

func (w *wire) Read(b []byte) (int, error) {
	w.mu.Lock()
	closed, counted := w.closed, !w.loggedIn
	if counted {
		b = b[:min(len(b), maxBytesBeforeLogin-w.read)]
	}
	w.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case counted && len(b) == 0:
		return 0, errTooMuchBeforeLogin
	}
	n, err := w.Conn.Read(b)
	if counted && !w.count(n) {
		return n, errNoMemory
	}
	if err != nil && w.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (w *wire) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// bytesRead is how many bytes were read before the login.
func (w *wire) bytesRead() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read
}

// count adds n bytes to what was read before the login, and reports whether there is room for them.
func (w *wire) count(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.loggedIn || n <= 0 {
		return true
	}
	before := max(w.read, freeBeforeLogin)
	w.read += n
	return w.pending.take(int64(n), int64(max(w.read, freeBeforeLogin)-before))
}

// login ends counting: from here on the limits of a gateway hold.
func (w *wire) login() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.loggedIn {
		w.loggedIn = true
		w.pending.leave(w.read)
	}
}

func (w *wire) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	return w.Conn.SetReadDeadline(t)
}

func (w *wire) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	return w.Conn.SetWriteDeadline(t)
}

// Close ends reading and writing.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	_ = w.Conn.SetDeadline(time.Unix(1, 0)) // wakes who reads or writes
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return w.Conn.Close()
}

// finish waits until the client has closed its end, for lingerTime, and closes the socket.
func (w *wire) finish() {
	_ = w.Close()
	w.login()
	if w.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, w.Conn)
	}
	_ = w.Conn.Close()
}

// pendingLogins counts connections that have not logged in, and what they have sent. It is safe for
// concurrent use.
type pendingLogins struct {
	mu     sync.Mutex
	conns  int
	bytes  int64
	shared int64 // bytes beyond freeBeforeLogin of each
}

func (p *pendingLogins) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns++
}

// take counts bytes, of which shared are beyond what each may have, and reports whether there is
// room for them.
func (p *pendingLogins) take(bytes, shared int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += bytes
	p.shared += shared
	return shared == 0 || p.shared <= maxBeforeLogin
}

// leave forgets a connection that has sent so many bytes.
func (p *pendingLogins) leave(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns--
	p.bytes -= int64(bytes)
	p.shared -= int64(max(bytes, freeBeforeLogin) - freeBeforeLogin)
}

func (p *pendingLogins) load() (conns int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns, p.bytes
}
