package push

import (
	"bufio"
	"math/bits"
	"net"
	"net/http"
	"sync"
	"time"
)

// sendBuffer is how much the kernel may hold for one client: enough for a distant one, and little
// enough that a client which does not read is noticed soon.
const sendBuffer = 64 << 10

// gatherings are buffers of 1, 2, 4 and 8 KiB. Each writer takes one no larger than it needs: in a
// burst thousands have one at once.
var gatherings [4]sync.Pool

const (
	leastGathering = 1 << 10
	mostGathering  = leastGathering << (len(gatherings) - 1)
)

func gatheringClass(size int) int {
	return bits.Len(uint(min(max(size, leastGathering), mostGathering)-1)) - bits.Len(
		leastGathering-1,
	)
}

// borrow returns an empty buffer with room for size bytes, or for as many as the largest has.
func borrow(size int) *[]byte {
	class := gatheringClass(size)
	if buf, ok := gatherings[class].Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, 0, leastGathering<<class)
	return &buf
}

func giveBack(buf *[]byte) {
	*buf = (*buf)[:0]
	if c := cap(*buf); c <= mostGathering {
		gatherings[gatheringClass(c)].Put(buf)
	}
}

// wire is a connection on which frames can be gathered so that many leave in one system call.
type wire struct {
	net.Conn

	mu       sync.Mutex
	gathered *[]byte // nil when every Write goes out at once
	deadline time.Time
}

// gather keeps what is written from now on, about size bytes, until flush, or until there is too
// much of it.
func (w *wire) gather(size int) {
	w.mu.Lock()
	w.gathered = borrow(size)
	w.mu.Unlock()
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.emit()
	giveBack(w.gathered)
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
	for {
		wrapper, ok := under.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		under = wrapper.NetConn()
	}
	if tcp, ok := under.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	return &wire{Conn: conn}, buffers, nil
}
