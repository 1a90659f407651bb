package push

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// sendBuffer is how much the kernel may hold for one client: enough for a distant one, and little enough that a client
// which does not read is noticed soon.
const sendBuffer = 64 << 10

var gatherings = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// wire is a connection on which frames can be gathered so that many leave in one system call.
type wire struct {
	net.Conn

	mu       sync.Mutex
	gathered *[]byte // nil when every Write goes out at once
	deadline time.Time
}

// gather keeps what is written from now on until flush, or until there is too much of it.
func (w *wire) gather() {
	w.mu.Lock()
	w.gathered = gatherings.Get().(*[]byte)
	w.mu.Unlock()
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.emit()
	gatherings.Put(w.gathered)
	w.gathered = nil
	return err
}

func (w *wire) emit() error {
	if len(*w.gathered) == 0 {
		return nil
	}
	_, err := w.Conn.Write(*w.gathered)
	*w.gathered = (*w.gathered)[:0]
	return err
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gathered == nil {
		return w.Conn.Write(p)
	}
	if len(*w.gathered)+len(p) > cap(*w.gathered) {
		if err := w.emit(); err != nil {
			return 0, err
		}
	}
	if len(p) > cap(*w.gathered) {
		return w.Conn.Write(p)
	}
	*w.gathered = append(*w.gathered, p...)
	return len(p), nil
}

// SetWriteDeadline passes on only what changes: it is called for every frame.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Equal(w.deadline) {
		return nil
	}
	w.deadline = t
	return w.Conn.SetWriteDeadline(t)
}

// hijacker hands the upgrader a wire in place of the server's connection.
type hijacker struct{ http.ResponseWriter }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	under := conn
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		under = tls.NetConn()
	}
	if tcp, ok := under.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	return &wire{Conn: conn}, buffers, nil
}
