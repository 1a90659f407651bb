package broker

import (
	"bytes"
	"fmt"
)

// maxClientID is the longest client id, in bytes: a key, a colon and what tells a gateway's
// connections apart.
const maxClientID = 256

// connectRequest is what is read of a CONNECT.
type connectRequest struct {
	version       byte // 3, 4 (MQTT 3.1.1) or 5; 0 until it is known
	clientID      string
	username      string
	maxPacket     uint32 // the largest packet that the client takes; 0: any
	sessionExpiry uint32 // in seconds
}

// parseConnect reads the body of a CONNECT, and returns what is wrong with it, or nil, together
// with the fields before the error. cut says that the CONNECT was too large and body is only its
// beginning.
func parseConnect(body []byte, cut bool) (r connectRequest, err *packetError) {
	c := &packetCursor{rest: body}
	r.parse(c)
	switch {
	case c.err == nil && !cut && len(c.rest) > 0:
		c.fail(codeMalformed, "malformed packet: bytes after its end")
	case cut && (c.err == nil || c.short):
		return r, &packetError{
			codeTooLarge,
			fmt.Sprintf("the CONNECT, its will included, must not be larger than %d bytes",
				maxConnect),
		}
	}
	return r, c.err
}

func (r *connectRequest) parse(c *packetCursor) {
	r.parseVersion(c)
	flags := c.uint8()
	clean, will, willQoS, willRetain := flags&2 != 0, flags&4 != 0, flags>>3&3, flags&0x20 != 0
	hasPassword, hasUser := flags&0x40 != 0, flags&0x80 != 0
	switch {
	case flags&1 != 0, willQoS == 3, !will && (willQoS > 0 || willRetain),
		r.version < 5 && hasPassword && !hasUser:
		c.fail(codeMalformed, "malformed packet: flags of the CONNECT")
	}
	c.uint16() // keep alive
	if r.version == 5 {
		r.parseProperties(c)
	}
	r.parseClientID(c, clean)
	if will {
		if r.version == 5 {
			c.properties(inWill)
		}
		topic := c.text()
		if c.err == nil && (len(topic) == 0 || bytes.ContainsAny(topic, "+#")) {
			c.fail(codeProtocolError, "protocol error: the will's topic is empty or has a wildcard")
		}
		c.binary()
	}
	if hasUser {
		r.username = string(c.text())
	}
	if hasPassword {
		c.binary()
	}
	if r.version == 5 && c.err == nil {
		switch { // the wills of older clients are accepted, at QoS 1 and not retained
		case willQoS == 2:
			c.fail(codeQoS, "a will of QoS 2 is not supported; use QoS 0 or 1")
		case willRetain:
			c.fail(codeRetain, "a will cannot be retained")
		}
	}
}

func (r *connectRequest) parseVersion(c *packetCursor) {
	name, level := string(c.binary()), c.uint8()
	switch {
	case c.err != nil:
	case name == "MQIsdp" && level == 3, name == "MQTT" && (level == 4 || level == 5):
		r.version = level
	case name != "MQIsdp" && name != "MQTT":
		c.fail(codeMalformed, "malformed packet: the protocol name is not MQTT")
	default:
		c.fail(codeBadVersion, "this version of MQTT is not supported; use 5, 3.1.1 or 3.1")
		// A later version understands a CONNACK of v5. Bridges set the highest bit.
		if level > 5 && level < 0x80 {
			r.version = 5
		}
	}
}

func (r *connectRequest) parseProperties(c *packetCursor) {
	p := c.properties(inConnect)
	r.maxPacket, r.sessionExpiry = p.value[propMaxPacketSize], p.value[propSessionExpiry]
	switch {
	case p.has(propAuthenticationMethod):
		c.fail(codeBadAuthentication,
			"authentication methods are not supported; use user name and password")
	case p.has(propAuthenticationData):
		c.fail(codeProtocolError, "protocol error: authentication data without a method")
	}
}

func (r *connectRequest) parseClientID(c *packetCursor, clean bool) {
	n := int(c.uint16())
	if c.err == nil && n > maxClientID {
		c.fail(codeBadClientID,
			fmt.Sprintf("the client id has %d bytes; at most %d are allowed", n, maxClientID))
	}
	id := packetCursor{rest: append([]byte{byte(n >> 8), byte(n)}, c.take(n)...)}
	if r.clientID = string(id.text()); c.err == nil && id.err != nil {
		c.fail(codeBadClientID, "the client id is not valid UTF-8, or has U+0000")
	}
	if r.version < 5 && !clean && n == 0 {
		c.fail(codeBadClientID, "a client without a client id must ask for a clean session")
	}
}

// returnCode translates a reason code of MQTT v5 into a return code of a 3.1 or 3.1.1 CONNACK. 0
// means that the connection is closed without a CONNACK.
func returnCode(code byte) byte {
	switch code {
	case codeMalformed, codeProtocolError:
		return 0
	case codeBadVersion:
		return 1
	case codeBadClientID:
		return 2
	case codeUnavailable, codeShuttingDown, codeQuota, codeTooManyAttempts:
		return 3
	}
	return 5 // not authorized: the client must change something before it retries
}

// connack encodes the CONNACK that refuses a client, or returns nil when the client's version of
// MQTT has none for this code.
func (r *connectRequest) connack(e *packetError) []byte {
	if r.version < 5 {
		code := returnCode(e.code)
		if code == 0 {
			return nil
		}
		return []byte{typeConnack << 4, 2, 0, code}
	}
	const reasonString = 31
	text := e.text[:min(len(e.text), 120)] // the lengths below are of one byte
	packet := append([]byte{
		typeConnack << 4, byte(6 + len(text)), 0, e.code, byte(3 + len(text)), reasonString, 0,
		byte(len(text)),
	}, text...)
	if r.maxPacket > 0 && len(packet) > int(r.maxPacket) {
		packet = []byte{typeConnack << 4, 3, 0, e.code, 0}
	}
	if r.maxPacket > 0 && len(packet) > int(r.maxPacket) {
		return nil
	}
	return packet
}
