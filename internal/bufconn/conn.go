package bufconn

import (
	"net"
	"sync"
	"time"
)

// Conn is a connection whose writes are sent at once, or, between Hold and Flush, together.
type Conn struct {
	net.Conn

	mu       sync.Mutex
	held     *[]byte // nil outside of Hold and Flush
	deadline time.Time
}

// New wraps conn.
func New(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// Hold keeps what is written from now on, about size bytes, until Flush, or until the buffer is
// full.
func (c *Conn) Hold(size int) {
	c.mu.Lock()
	c.held = Borrow(size)
	c.mu.Unlock()
}

// Flush sends what is held, and ends Hold.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.send()
	Release(c.held)
	c.held = nil
	return err
}

func (c *Conn) send() error {
	if len(*c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(*c.held)
	*c.held = (*c.held)[:0]
	return err
}

// Write sends p or holds it.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return c.Conn.Write(p)
	}
	if len(*c.held)+len(p) > cap(*c.held) {
		if err := c.send(); err != nil {
			return 0, err
		}
	}
	if len(p) > cap(*c.held) {
		return c.Conn.Write(p)
	}
	*c.held = append(*c.held, p...)
	return len(p), nil
}

// SetWriteDeadline passes on changes only, because gorilla calls it for every frame.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Equal(c.deadline) {
		return nil
	}
	c.deadline = t
	return c.Conn.SetWriteDeadline(t)
}
