package embedded

import (
	"bytes"
	"errors"
	"io"
	"net"
)

var errNoConnect = errors.New("mqtt: the first packet is no CONNECT, or too long")

// connecting waits for the whole first packet of a connection, limit bytes at most, and returns a connection that begins with it.
// The broker sets memory aside for a packet as soon as it knows its length; this way one who has not logged in has no more of it
// than he fills.
func connecting(conn net.Conn, limit int) (net.Conn, error) {
	const connect = 0x10
	var head [5]byte
	length, n := 0, 0
	for more := true; more; n++ { // the length has seven bits in a byte, the lowest first, and the eighth says that there are more
		if n == len(head) {
			return nil, errNoConnect
		}
		if _, err := io.ReadFull(conn, head[n:n+1]); err != nil {
			return nil, err
		}
		if n > 0 {
			length |= int(head[n]&0x7f) << (7 * (n - 1))
			more = head[n] >= 0x80
		}
	}
	if head[0] != connect || n+length > limit {
		return nil, errNoConnect
	}
	packet := bytes.NewBuffer(head[:n:n])
	if _, err := io.CopyN(packet, conn, int64(length)); err != nil {
		return nil, err
	}
	return &connected{Conn: conn, packet: packet}, nil
}

// connected is a connection whose first packet was read already.
type connected struct {
	net.Conn
	packet *bytes.Buffer // nil: it was read again
}

func (c *connected) Read(b []byte) (int, error) {
	if c.packet == nil {
		return c.Conn.Read(b)
	}
	n, err := c.packet.Read(b)
	if c.packet.Len() == 0 {
		c.packet = nil
	}
	return n, err
}
