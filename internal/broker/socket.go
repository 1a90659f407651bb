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
	// freeBeforeLogin is how many bytes a client may send before its login without using any of
	// maxSharedBeforeLogin; an ordinary CONNECT is shorter.
	freeBeforeLogin = 2 << 10
	// maxBeforeLogin is how many bytes one client may send before its login: TLS handshake, HTTP
	// upgrade and CONNECT.
	maxBeforeLogin = 64 << 10
	// maxSharedBeforeLogin is how many bytes beyond freeBeforeLogin all clients together may have
	// sent before their login.
	maxSharedBeforeLogin = 8 << 20
)

var (
	errTooMuchBeforeLogin = errors.New("mqtt: too many bytes before the login")
	errNoMemory           = errors.New("mqtt: too many bytes of clients that have not logged in")
)

// socket is an accepted connection below TLS and WebSocket. It counts the bytes read before the
// login. Its Close lets the client read what was written before: closing a TCP socket with unread
// input resets the connection, and the DISCONNECT or CONNACK that says why would be lost. finish
// closes the TCP socket.
type socket struct {
	net.Conn
	pending *pendingLogins

	mu       sync.Mutex
	closed   bool
	loggedIn bool
	read     int // bytes, before the login
}

func newSocket(c net.Conn, pending *pendingLogins) *socket {
	pending.add()
	return &socket{Conn: c, pending: pending}
}

func (s *socket) Read(b []byte) (int, error) {
	s.mu.Lock()
	closed, counted := s.closed, !s.loggedIn
	if counted {
		b = b[:min(len(b), maxBeforeLogin-s.read)]
	}
	s.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case counted && len(b) == 0:
		return 0, errTooMuchBeforeLogin
	}
	n, err := s.Conn.Read(b)
	if counted && !s.count(n) {
		return n, errNoMemory
	}
	if err != nil && s.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (s *socket) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// bytesRead returns how many bytes were read before the login.
func (s *socket) bytesRead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// count adds n bytes to those read before the login, and reports whether the limit of all clients
// allows them.
func (s *socket) count(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loggedIn || n <= 0 {
		return true
	}
	before := max(s.read, freeBeforeLogin)
	s.read += n
	return s.pending.count(int64(n), int64(max(s.read, freeBeforeLogin)-before))
}

// login ends counting: from here on the limits of a gateway apply.
func (s *socket) login() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loggedIn {
		s.loggedIn = true
		s.pending.remove(s.read)
	}
}

func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.Conn.SetReadDeadline(t)
}

func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.Conn.SetWriteDeadline(t)
}

// Close ends reading and writing.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	_ = s.Conn.SetDeadline(time.Unix(1, 0)) // wakes blocked reads and writes
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Conn.Close()
}

// finish waits until the client has closed its end, for lingerTime, and closes the TCP socket.
func (s *socket) finish() {
	_ = s.Close()
	s.login()
	if s.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, s.Conn)
	}
	_ = s.Conn.Close()
}
