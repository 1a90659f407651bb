package store

import (
	"context"
	"net"
	"time"
)

const (
	// answerMargin is how much longer than a statement may take its answer is waited for.
	answerMargin = 500 * time.Millisecond
	// cancelMargin is for how long the answer to a statement that was cancelled is waited for when
	// its connection is to end.
	cancelMargin = 3 * time.Second
)

// dialer makes connections that fail when the server says nothing for limit while an answer is due.
// Without it a server that hangs, or a network that swallows packets, would hold a statement for as
// long as the kernel believes in the connection: lib/pq waits for an answer also when the context
// has ended.
type dialer struct {
	net.Dialer
	limit time.Duration
	// when it ends, an answer that is due is waited for no longer than cancelMargin
	life context.Context
}

// DialTimeout is what lib/pq asks for beside Dial and DialContext.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// Dial connects without a limit of time for it.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects while ctx lasts.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// it may be closed
	context.AfterFunc(d.life, func() { _ = c.SetReadDeadline(time.Now().Add(cancelMargin)) })
	return &answering{Conn: c, limit: d.limit}, nil
}

// answering is a connection that is read only when something is due.
type answering struct {
	net.Conn
	limit   time.Duration
	bounded bool // there is a deadline, that of the connection's start
}

func (c *answering) SetDeadline(t time.Time) error {
	c.bounded = !t.IsZero()
	return c.Conn.SetDeadline(t)
}

func (c *answering) Read(b []byte) (int, error) {
	if !c.bounded {
		if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}
