package broker

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Types of MQTT control packets, section 2.1.2.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubcomp     = 7
	typePubrel      = 6
	typeSubscribe   = 8
	typeUnsubscribe = 10
	typePingreq     = 12
	typeDisconnect  = 14
	typeAuth        = 15
)

// Reason codes of MQTT v5 that end or refuse a connection, section 2.4.
const (
	codeMalformed         = 0x81
	codeProtocolError     = 0x82
	codeInternal          = 0x83
	codeBadVersion        = 0x84
	codeBadClientID       = 0x85
	codeBadCredential     = 0x86
	codeNotAuthorized     = 0x87
	codeUnavailable       = 0x88
	codeShuttingDown      = 0x8B
	codeBadAuthentication = 0x8C
	codeKeepAlive         = 0x8D
	codeTakenOver         = 0x8E
	codeReceiveMaximum    = 0x93
	codeTopicAlias        = 0x94
	codeTooLarge          = 0x95
	codeQuota             = 0x97
	codeRetain            = 0x9A
	codeQoS               = 0x9B
	codeTooManyAttempts   = 0x9F
)

// packetError is why a packet ends its connection.
type packetError struct {
	code byte // reason code of MQTT v5
	text string
}

func (e *packetError) Error() string { return e.text }

// packetChecker checks the packets of one client after its CONNECT. It reads them in place, copies
// nothing, and skips payloads, which may be large.
type packetChecker struct {
	version byte // 3, 4 (MQTT 3.1.1) or 5
	// the CONNECT had no session expiry interval, so a DISCONNECT must not set one
	neverExpire bool
}

// check returns what is wrong with a packet, or nil. body is what follows the remaining length.
func (k packetChecker) check(first byte, body []byte) *packetError {
	c := &packetCursor{rest: body}
	kind, flags := first>>4, first&0x0f
	if kind != typePublish && flags != requiredFlags(kind) {
		return &packetError{codeMalformed, "malformed packet: flags of the fixed header"}
	}
	switch kind {
	case typePublish:
		k.publish(c, flags)
		return c.err
	case typePuback, typePuback + 1, typePubrel, typePubcomp:
		k.acknowledgement(c)
	case typeSubscribe:
		k.subscribe(c)
	case typeUnsubscribe:
		k.unsubscribe(c)
	case typePingreq:
	case typeDisconnect:
		k.disconnect(c)
	default:
		// a second CONNECT, an AUTH without an authentication method, a packet that only servers
		// send, or an unknown type
		return &packetError{
			codeProtocolError,
			fmt.Sprintf("protocol error: a client must not send packet type %d here", kind),
		}
	}
	if c.err == nil && len(c.rest) > 0 {
		c.fail(codeMalformed, "malformed packet: bytes after its end")
	}
	return c.err
}

// requiredFlags returns the flags of a packet other than PUBLISH, section 2.1.3.
func requiredFlags(kind byte) byte {
	switch kind {
	case typePubrel, typeSubscribe, typeUnsubscribe:
		return 2
	}
	return 0
}

// publish checks what precedes the payload, which remains in c.
func (k packetChecker) publish(c *packetCursor, flags byte) {
	qos, dup := flags>>1&3, flags&8 != 0
	topic := c.text()
	switch {
	case qos == 3:
		c.fail(codeMalformed, "malformed packet: QoS 3")
	case qos == 0 && dup:
		c.fail(codeMalformed, "malformed packet: DUP at QoS 0")
	case bytes.IndexByte(topic, '+') >= 0 || bytes.IndexByte(topic, '#') >= 0:
		c.fail(codeProtocolError, "protocol error: a wildcard in a topic name")
	}
	if qos > 0 {
		c.packetID()
	}
	var p packetProperties
	if k.version == 5 {
		p = c.properties(inPublish)
	}
	switch {
	case p.has(propTopicAlias): // the CONNACK allows none
		c.fail(codeTopicAlias, "topic alias not allowed")
	case len(topic) == 0:
		c.fail(codeProtocolError, "protocol error: no topic name")
	case qos == 2:
		c.fail(codeQoS, "QoS 2 is not supported; publish at QoS 0 or 1")
	}
}

// topicAndPayload returns those of a PUBLISH, which may be truncated.
func (k packetChecker) topicAndPayload(first byte, body []byte) (topic, payload []byte) {
	c := &packetCursor{rest: body}
	topic = c.text()
	if first&6 != 0 {
		c.uint16() // packet identifier
	}
	if k.version == 5 {
		c.take(int(c.variable()))
	}
	return topic, c.rest
}

// acknowledgement checks a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (k packetChecker) acknowledgement(c *packetCursor) {
	c.packetID()
	if k.version == 5 && len(c.rest) > 0 {
		c.uint8() // reason code
		if len(c.rest) > 0 {
			c.properties(inAcknowledgement)
		}
	}
}

func (k packetChecker) subscribe(c *packetCursor) {
	c.packetID()
	if k.version == 5 {
		c.properties(inSubscribe)
	}
	c.atLeastOneFilter()
	for len(c.rest) > 0 && c.err == nil {
		filter := c.text()
		options := c.uint8()
		noLocal := options&4 != 0
		switch {
		case options&3 == 3:
			c.fail(codeProtocolError, "protocol error: QoS 3 in a subscription")
		case options&0xc0 != 0 || k.version < 5 && options > 2:
			c.fail(codeMalformed, "malformed packet: reserved bits in a subscription")
		case options&0x30 == 0x30:
			c.fail(codeProtocolError, "protocol error: retain handling 3")
		case noLocal && bytes.HasPrefix(filter, []byte("$share/")):
			c.fail(codeProtocolError, "protocol error: No Local in a shared subscription")
		}
	}
}

func (k packetChecker) unsubscribe(c *packetCursor) {
	c.packetID()
	if k.version == 5 {
		c.properties(inUnsubscribe)
	}
	c.atLeastOneFilter()
	for len(c.rest) > 0 && c.err == nil {
		c.text()
	}
}

func (k packetChecker) disconnect(c *packetCursor) {
	if k.version < 5 || len(c.rest) == 0 {
		return
	}
	c.uint8() // reason code
	if len(c.rest) == 0 {
		return
	}
	if p := c.properties(inDisconnect); k.neverExpire && p.value[propSessionExpiry] > 0 {
		c.fail(codeProtocolError,
			"protocol error: a session expiry interval after none in the CONNECT")
	}
}

// packetCursor reads the fields of a packet in order. After the first error it returns zero
// values.
type packetCursor struct {
	rest  []byte
	err   *packetError
	short bool // err is that the packet ended too early
}

func (c *packetCursor) fail(code byte, text string) {
	if c.err == nil {
		c.err, c.rest = &packetError{code, text}, nil
	}
}

// take returns the next n bytes.
func (c *packetCursor) take(n int) []byte {
	if n > len(c.rest) {
		c.short = c.short || c.err == nil
		c.fail(codeMalformed, "malformed packet: it is truncated")
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *packetCursor) uint8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *packetCursor) uint16() uint16 { return uint16(c.uint8())<<8 | uint16(c.uint8()) }

func (c *packetCursor) uint32() uint32 { return uint32(c.uint16())<<16 | uint32(c.uint16()) }

// variable reads a variable byte integer, section 1.5.5.
func (c *packetCursor) variable() uint32 {
	value := uint32(0)
	for shift := 0; shift < 28; shift += 7 {
		b := c.uint8()
		value |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return value
		}
	}
	c.fail(codeMalformed, "malformed packet: a variable byte integer that does not end")
	return 0
}

// binary reads a length of two bytes and as many bytes.
func (c *packetCursor) binary() []byte { return c.take(int(c.uint16())) }

func (c *packetCursor) text() []byte {
	b := c.binary()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		c.fail(codeMalformed, "malformed packet: a string that is not UTF-8, or has U+0000")
	}
	return b
}

func (c *packetCursor) packetID() {
	if c.uint16() == 0 {
		c.fail(codeProtocolError, "protocol error: no packet identifier")
	}
}

func (c *packetCursor) atLeastOneFilter() {
	if len(c.rest) == 0 {
		c.fail(codeProtocolError, "protocol error: no topic filter")
	}
}
