// Package bufconn gathers small writes to a connection, so that many packets or frames leave in
// one system call. It knows no protocol.
package bufconn

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"
)

// AutoFlush is a connection that reads ahead, and gathers the writes that come while earlier ones
// are being sent. An MQTT client reads a packet in three steps and writes every acknowledgement by
// itself; without this each of them would be a system call.
//
// It is a sync.Locker because paho locks a connection that is one around the parts of a packet.
type AutoFlush struct {
	net.Conn
	sync.Mutex
	reader  *bufio.Reader
	wake    chan struct{}
	closed  chan struct{}
	flusher sync.WaitGroup
	close   sync.Once

	mu      sync.Mutex // guards pending and err
	pending []byte     // written and not yet sent
	err     error      // of a send; the next write returns it

	sending sync.Mutex
	spare   []byte // swapped with pending by each send
}

const (
	maxPending   = 64 << 10 // from here on a write waits for the network
	closeTimeout = time.Second
)

// NewAutoFlush wraps conn. Close ends its goroutine.
func NewAutoFlush(conn net.Conn) *AutoFlush {
	c := &AutoFlush{
		Conn:   conn,
		reader: bufio.NewReaderSize(conn, 64<<10),
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	c.flusher.Go(func() {
		for {
			select {
			case <-c.wake:
				c.send()
			case <-c.closed:
				return
			}
		}
	})
	return c
}

// Read reads from the read-ahead buffer or the connection.
func (c *AutoFlush) Read(b []byte) (int, error) { return c.reader.Read(b) }

// Write returns before b is sent, which follows at once. Its error is that of an earlier send.
func (c *AutoFlush) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.pending = append(c.pending, b...)
	n, err := len(c.pending), c.err
	c.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case n >= maxPending:
		c.send()
	default:
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}

// send sends what is pending; writes may add more meanwhile.
func (c *AutoFlush) send() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	out, err := c.pending, c.err
	c.pending = c.spare[:0]
	c.mu.Unlock()
	if len(out) > 0 && err == nil {
		_, err = c.Conn.Write(out)
	}
	c.spare = out
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
}

// Close sends what is pending, for at most closeTimeout, and closes the connection.
func (c *AutoFlush) Close() error {
	var err error
	c.close.Do(func() {
		err = c.SetWriteDeadline(time.Now().Add(closeTimeout))
		close(c.closed)
		c.flusher.Wait()
		c.send()
		err = errors.Join(err, c.Conn.Close())
	})
	return err
}
