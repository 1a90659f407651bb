package store

import (
	"context"
	"net"
	"time"
)

const (
	// answerMargin is how much longer than the statement timeout an answer is awaited.
	answerMargin = 500 * time.Millisecond
	// cancelMargin is how long an answer is awaited after the connection's context has ended.
	cancelMargin = 3 * time.Second
)

// dialer opens connections that fail when the server sends nothing for limit while an answer is
// due. Without it a statement would wait for a hanging server, or on a network that drops packets,
// until the kernel gives the connection up: lib/pq waits for an answer even after the context has
// ended.
type dialer struct {
	net.Dialer
	limit time.Duration
	// after it ends, an answer is awaited for cancelMargin
	life context.Context
}

// DialTimeout implements pq.Dialer.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// Dial implements pq.Dialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext implements pq.DialerContext.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(d.life, func() {
		_ = c.SetReadDeadline(time.Now().Add(cancelMargin)) // fails if c is closed
	})
	return &answerConn{Conn: c, limit: d.limit}, nil
}

// answerConn is a connection that is read only when an answer is due: each read has limit.
type answerConn struct {
	net.Conn
	limit   time.Duration
	bounded bool // a deadline is set: that of lib/pq for the handshake
}

func (c *answerConn) SetDeadline(t time.Time) error {
	c.bounded = !t.IsZero()
	return c.Conn.SetDeadline(t)
}

func (c *answerConn) Read(b []byte) (int, error) {
	if !c.bounded {
		if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}
