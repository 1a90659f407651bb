package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// maxConnect is the largest CONNECT, its will included, in bytes.
	maxConnect = 16 << 10
	// readBuffer is the size of the buffer of a client that has logged in; larger packets take
	// memory as they arrive.
	readBuffer = 4 << 10
	// maxRecorded is how much of a PUBLISH that is refused for its size is read, for the record.
	maxRecorded = 4 << 10
)

var errNoConnect = errors.New("mqtt: the first packet is not a CONNECT")

// conn is a client's connection as the broker reads and writes it. The broker gets whole and valid
// packets only; the first that is not valid ends the connection. Every write has a deadline of its
// own, so that a client that does not read holds up nobody for long.
type conn struct {
	net.Conn        // above TLS and WebSocket
	wire      *wire // below them
	cfg       Config
	surplus   bool   // one too many, only to be told so
	certified string // the name in the client's certificate
	request   connectRequest

	in    *bufio.Reader
	ready []byte // of a valid packet, not yet read by the broker

	// nil before the client has logged in; set by the broker's goroutine of this connection
	login *login

	mu     sync.Mutex
	ending ending
}

// login is what the broker adds to a connection once its client has logged in.
type login struct {
	gateway Gateway
	// tells the client why, and closes
	disconnect func(*packetFault)
	// records a PUBLISH that is not taken
	reject func(topic string, payload []byte, f *packetFault)
	leave  func() // ends the session
}

// ending is why a connection ended, and what else is known of it.
type ending struct {
	reason string
	attrs  []slog.Attr
}

// end notes why the connection ends, unless that is known already.
func (c *conn) end(reason string, attrs ...slog.Attr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending.reason == "" {
		c.ending = ending{reason, attrs}
	}
}

func (c *conn) ended() ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// awaitConnect reads and checks the first packet. One with a fault is answered.
func (c *conn) awaitConnect() error {
	in := bufio.NewReaderSize(c.Conn, 0) // the smallest: there may be many that send nothing
	head, length, err := peekHeader(in)
	if err != nil {
		return err
	}
	if first, _ := in.Peek(1); first[0] != typeConnect<<4 {
		return errNoConnect
	}
	size := min(head+length, maxConnect)
	cut := size < head+length
	if cut { // what has come soon will do to say what is wrong
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	}
	var packet bytes.Buffer // takes no more memory than the client has filled
	if _, err := io.CopyN(&packet, in, int64(size)); err != nil && !cut {
		return err
	}
	var f *packetFault
	if c.request, f = parseConnect(packet.Bytes()[min(head, packet.Len()):], cut); f != nil {
		c.refuse(f)
		return f
	}
	c.in, c.ready = in, packet.Bytes()
	return nil
}

// refuse answers a CONNECT that is not accepted, and notes why.
func (c *conn) refuse(f *packetFault, attrs ...slog.Attr) {
	c.end(endReason(f.code), append(attrs, slog.String("detail", f.text))...)
	if packet := c.request.connack(f); packet != nil {
		_, _ = c.Write(packet) // the connection ends anyway
	}
}

// accept notes that the client has logged in.
func (c *conn) accept(l *login) {
	c.login = l
	c.in = bufio.NewReaderSize(c.in, readBuffer)
	c.wire.login()
}

// isOf reports whether the client has logged in as this gateway, or has not said.
func (c *conn) isOf(g Gateway) bool { return c.login == nil || c.login.gateway.ID == g.ID }

// peekHeader returns the size of the next fixed header and the length of what follows it.
func peekHeader(in *bufio.Reader) (size, length int, err error) {
	for size = 2; size <= 5; size++ {
		head, err := in.Peek(size)
		if err != nil {
			return 0, 0, err
		}
		last := head[size-1]
		length |= int(last&0x7f) << (7 * (size - 2)) // seven bits in a byte, the lowest first
		if last < 0x80 {
			return size, length, nil
		}
	}
	return 0, 0, &packetFault{codeMalformed, "malformed packet: a length that does not end"}
}

// Read gives the broker what it may process.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.ready) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// next reads and checks a packet.
func (c *conn) next() error {
	head, length, err := peekHeader(c.in)
	if err != nil {
		return c.fail(err)
	}
	first, _ := c.in.Peek(1)
	kind, total := first[0], head+length
	if total > c.cfg.MaxPacket {
		return c.refusePublish(kind, c.beginning(head, length),
			&packetFault{
				codeTooLarge,
				fmt.Sprintf("the packet has %d bytes; at most %d are allowed", total,
					c.cfg.MaxPacket),
			})
	}
	packet, err := c.whole(total)
	if err != nil {
		return c.fail(err)
	}
	f := c.checker().check(kind, packet[head:])
	switch {
	case f == nil:
	case f.code == codeQoS:
		return c.refusePublish(kind, packet[head:], f)
	default:
		return c.fail(f)
	}
	if kind>>4 == typeDisconnect {
		c.end(reasonDisconnect)
	}
	c.ready = packet
	return nil
}

func (c *conn) checker() packetChecker {
	return packetChecker{version: c.request.version, neverExpire: c.request.sessionExpiry == 0}
}

// whole returns the next packet, which is valid until the next is read.
func (c *conn) whole(size int) ([]byte, error) {
	if size <= c.in.Size() {
		packet, err := c.in.Peek(size)
		if err == nil {
			_, err = c.in.Discard(size)
		}
		return packet, err
	}
	var packet bytes.Buffer
	// takes memory as it arrives, not as it is announced
	_, err := io.CopyN(&packet, c.in, int64(size))
	return packet.Bytes(), err
}

// beginning returns what a packet that is too large begins with, after its fixed header.
func (c *conn) beginning(head, length int) []byte {
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	packet, _ := c.in.Peek(min(head+length, maxRecorded)) // what has come by then will do
	return packet[min(head, len(packet)):]
}

// refusePublish ends the connection for a packet that is not taken, and has it recorded when it is
// a PUBLISH.
func (c *conn) refusePublish(kind byte, body []byte, f *packetFault) error {
	err := c.fail(f)
	if kind>>4 == typePublish {
		if topic, payload := c.checker().parts(kind, body); len(topic) > 0 && c.login != nil {
			c.login.reject(string(topic), bytes.Clone(payload), f)
		}
	}
	return err
}

// fail notes why reading ended, tells the client if that is of use, and returns err.
func (c *conn) fail(err error) error {
	f, faulty := errors.AsType[*packetFault](err)
	switch {
	case faulty:
	case errors.Is(err, os.ErrDeadlineExceeded):
		f = &packetFault{
			codeKeepAlive, "nothing was received for one and a half times the keep-alive",
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.end(reasonClosed)
		return err
	default:
		c.end(reasonClosed, slog.String("detail", err.Error()))
		return err
	}
	c.end(endReason(f.code), slog.String("detail", f.text))
	if c.login != nil {
		c.login.disconnect(f)
	}
	return err
}

// Write sends packets of the broker. One that refuses or disconnects a client of an older version
// is left out: it has none.
func (c *conn) Write(b []byte) (int, error) {
	if c.request.version < 5 && len(b) > 0 && b[0]>>4 == typeDisconnect {
		return len(b), nil
	}
	err := c.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	n := 0
	if err == nil {
		n, err = c.Conn.Write(b)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(reasonNotReading, slog.String("detail", "the client does not read what it is sent"))
	case err != nil:
		c.end(reasonClosed, slog.String("detail", err.Error()))
	}
	return n, err
}

// SetDeadline is the broker's, for its keep-alive. It is of reading only: every write has its own.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }
