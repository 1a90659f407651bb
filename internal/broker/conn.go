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
	// maxConnect is the maximum size of a CONNECT with its will, in bytes.
	maxConnect = 16 << 10
	// readBuffer is the size of the read buffer of a logged-in client; larger packets take memory
	// as they arrive.
	readBuffer = 4 << 10
	// maxRecorded is how much of a refused PUBLISH is read for its rejection record, in bytes.
	maxRecorded = 4 << 10
)

var errNoConnect = errors.New("mqtt: the first packet is not a CONNECT")

// conn is a client's connection as mochi reads and writes it. mochi gets whole and valid packets
// only; the first invalid packet ends the connection. Every write has a deadline, so that a client
// that does not read delays others for a limited time.
type conn struct {
	net.Conn          // above TLS and WebSocket
	socket    *socket // below them
	cfg       Config
	overLimit bool   // only to be refused with a reason
	certName  string // the common name in the client's verified certificate
	request   connectRequest

	in    *bufio.Reader
	ready []byte // of a valid packet that mochi has not read yet

	// nil before the client has logged in; set by mochi's goroutine of this connection
	login *login

	mu       sync.Mutex
	firstEnd ending
}

// login is what the broker adds to a connection when its client has logged in.
type login struct {
	gateway Gateway
	// disconnect tells the client why, and closes the connection.
	disconnect func(*packetError)
	// reject records a PUBLISH that is not accepted.
	reject func(topic string, payload []byte, e *packetError)
	end    func() // ends the session
}

// ending is why a connection ended, with log attributes.
type ending struct {
	reason string
	attrs  []slog.Attr
}

// noteEnd notes why the connection ends. The first reason counts.
func (c *conn) noteEnd(reason string, attrs ...slog.Attr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firstEnd.reason == "" {
		c.firstEnd = ending{reason, attrs}
	}
}

func (c *conn) ending() ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.firstEnd
}

// readConnect reads and checks the first packet. It answers an invalid CONNECT.
func (c *conn) readConnect() error {
	// The smallest buffer, because many connections may send nothing.
	in := bufio.NewReaderSize(c.Conn, 0)
	head, length, err := peekHeader(in)
	if err != nil {
		return err
	}
	if first, _ := in.Peek(1); first[0] != typeConnect<<4 {
		return errNoConnect
	}
	size := min(head+length, maxConnect)
	cut := size < head+length
	if cut { // what arrives in this time is enough to answer
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	}
	var packet bytes.Buffer // takes no more memory than the client has sent
	if _, err := io.CopyN(&packet, in, int64(size)); err != nil && !cut {
		return err
	}
	var invalid *packetError
	c.request, invalid = parseConnect(packet.Bytes()[min(head, packet.Len()):], cut)
	if invalid != nil {
		c.refuse(invalid)
		return invalid
	}
	c.in, c.ready = in, packet.Bytes()
	return nil
}

// refuse answers a CONNECT that is not accepted, and notes why.
func (c *conn) refuse(e *packetError) {
	c.noteEnd(reasonOfCode(e.code), slog.String("detail", e.text))
	if packet := c.request.connack(e); packet != nil {
		_, _ = c.Write(packet) // the connection ends anyway
	}
}

// accept notes that the client has logged in.
func (c *conn) accept(l *login) {
	c.login = l
	c.in = bufio.NewReaderSize(c.in, readBuffer)
	c.socket.login()
}

// mayBelongTo reports whether the client has logged in as g or not yet logged in.
func (c *conn) mayBelongTo(g Gateway) bool { return c.login == nil || c.login.gateway.ID == g.ID }

// peekHeader returns the size of the next fixed header and the remaining length in it.
func peekHeader(in *bufio.Reader) (size, length int, err error) {
	for size = 2; size <= 5; size++ {
		head, err := in.Peek(size)
		if err != nil {
			return 0, 0, err
		}
		last := head[size-1]
		length |= int(last&0x7f) << (7 * (size - 2)) // seven bits a byte, lowest first
		if last < 0x80 {
			return size, length, nil
		}
	}
	return 0, 0, &packetError{codeMalformed, "malformed packet: a length that does not end"}
}

// Read returns bytes of valid packets.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.ready) == 0 {
		if err := c.readPacket(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// readPacket reads and checks a packet.
func (c *conn) readPacket() error {
	head, length, err := peekHeader(c.in)
	if err != nil {
		return c.fail(err)
	}
	first, _ := c.in.Peek(1)
	kind, total := first[0], head+length
	if total > c.cfg.MaxPacket {
		return c.refusePublish(kind, c.peekBody(head, length), &packetError{
			codeTooLarge,
			fmt.Sprintf("the packet has %d bytes; at most %d are allowed", total, c.cfg.MaxPacket),
		})
	}
	packet, err := c.readFull(total)
	if err != nil {
		return c.fail(err)
	}
	invalid := c.checker().check(kind, packet[head:])
	switch {
	case invalid == nil:
	case invalid.code == codeQoS:
		return c.refusePublish(kind, packet[head:], invalid)
	default:
		return c.fail(invalid)
	}
	if kind>>4 == typeDisconnect {
		c.noteEnd(reasonDisconnect)
	}
	c.ready = packet
	return nil
}

func (c *conn) checker() packetChecker {
	return packetChecker{version: c.request.version, neverExpire: c.request.sessionExpiry == 0}
}

// readFull returns the next packet, which is valid until the next one is read.
func (c *conn) readFull(size int) ([]byte, error) {
	if size <= c.in.Size() {
		packet, err := c.in.Peek(size)
		if err == nil {
			_, err = c.in.Discard(size)
		}
		return packet, err
	}
	var packet bytes.Buffer
	// CopyN takes memory as the packet arrives, not as it is announced.
	_, err := io.CopyN(&packet, c.in, int64(size))
	return packet.Bytes(), err
}

// peekBody returns the first bytes after the fixed header of a packet that is too large.
func (c *conn) peekBody(head, length int) []byte {
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	packet, _ := c.in.Peek(min(head+length, maxRecorded)) // or what arrives in this time
	return packet[min(head, len(packet)):]
}

// refusePublish ends the connection because of a packet, and records the packet if it is a PUBLISH.
func (c *conn) refusePublish(kind byte, body []byte, e *packetError) error {
	err := c.fail(e)
	if kind>>4 == typePublish {
		topic, payload := c.checker().topicAndPayload(kind, body)
		if len(topic) > 0 && c.login != nil {
			c.login.reject(string(topic), bytes.Clone(payload), e)
		}
	}
	return err
}

// fail notes why reading ended, tells the client when it may still be connected, and returns err.
func (c *conn) fail(err error) error {
	e, isPacketError := errors.AsType[*packetError](err)
	switch {
	case isPacketError:
	case errors.Is(err, os.ErrDeadlineExceeded):
		e = &packetError{
			codeKeepAlive, "nothing was received for one and a half times the keep-alive",
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.noteEnd(reasonClosed)
		return err
	default:
		c.noteEnd(reasonClosed, slog.String("detail", err.Error()))
		return err
	}
	c.noteEnd(reasonOfCode(e.code), slog.String("detail", e.text))
	if c.login != nil {
		c.login.disconnect(e)
	}
	return err
}

// Write sends packets of mochi and of the session. It drops a DISCONNECT to a client older than
// v5, whose version has none from a server.
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
		c.noteEnd(reasonNotReading,
			slog.String("detail", "the client does not read what it is sent"))
	case err != nil:
		c.noteEnd(reasonClosed, slog.String("detail", err.Error()))
	}
	return n, err
}

// SetDeadline sets the read deadline only: mochi calls it for the keep-alive, and Write sets a
// deadline of its own.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }
