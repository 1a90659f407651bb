package broker

import "fmt"

// Packets from clients that have properties of MQTT v5.
const (
	inConnect = 1 << iota
	inWill
	inPublish
	inAcknowledgement
	inSubscribe
	inUnsubscribe
	inDisconnect
)

// Properties that the code refers to by name, section 2.2.2.2.
const (
	propSubscriptionID       = 11
	propSessionExpiry        = 17
	propAuthenticationMethod = 21
	propAuthenticationData   = 22
	propTopicAlias           = 35
	propUser                 = 38
	propMaxPacketSize        = 39
)

// propertyType is how a property is encoded.
type propertyType byte

const (
	propertyFlag             propertyType = iota // a byte that is 0 or 1
	propertyUint16                               // two bytes
	propertyUint32                               // four bytes
	propertyText                                 // UTF-8
	propertyBinary                               // two bytes of length, and as many bytes
	propertyPair                                 // two strings
	propertyPositive16                           // two bytes, not 0
	propertyPositive32                           // four bytes, not 0
	propertyPositiveVariable                     // variable byte integer, not 0
)

// clientProperties are the properties that a client may send, by identifier: how each is encoded,
// and in which packets it may occur.
var clientProperties = [40]struct {
	kind propertyType
	in   int
}{
	1:                        {propertyFlag, inPublish | inWill},   // payload format indicator
	2:                        {propertyUint32, inPublish | inWill}, // message expiry interval
	3:                        {propertyText, inPublish | inWill},   // content type
	8:                        {propertyText, inPublish | inWill},   // response topic
	9:                        {propertyBinary, inPublish | inWill}, // correlation data
	propSubscriptionID:       {propertyPositiveVariable, inSubscribe},
	propSessionExpiry:        {propertyUint32, inConnect | inDisconnect},
	propAuthenticationMethod: {propertyText, inConnect},
	propAuthenticationData:   {propertyBinary, inConnect},
	// request problem information
	23: {propertyFlag, inConnect},
	// will delay interval
	24: {propertyUint32, inWill},
	// request response information
	25: {propertyFlag, inConnect},
	31: {propertyText, inAcknowledgement | inDisconnect}, // reason string
	33: {propertyPositive16, inConnect},                  // receive maximum
	// topic alias maximum
	34:                {propertyUint16, inConnect},
	propTopicAlias:    {propertyUint16, inPublish},
	propUser:          {propertyPair, ^0},
	propMaxPacketSize: {propertyPositive32, inConnect},
}

// packetProperties are the properties of a packet, with the values of those that are numbers.
type packetProperties struct {
	seen  uint64
	value [len(clientProperties)]uint32
}

func (p *packetProperties) has(id int) bool { return p.seen&(1<<id) != 0 }

// properties reads the properties of a packet. A property that must not occur in it, and a repeated
// one, are errors.
func (c *packetCursor) properties(packet int) (p packetProperties) {
	of := packetCursor{rest: c.take(int(c.variable()))}
	for len(of.rest) > 0 && of.err == nil {
		id := int(of.variable())
		if id >= len(clientProperties) || clientProperties[id].in&packet == 0 {
			of.fail(codeProtocolError,
				fmt.Sprintf("protocol error: property %d is not allowed here", id))
			break
		}
		if p.has(id) && id != propUser {
			of.fail(codeProtocolError,
				fmt.Sprintf("protocol error: property %d is given twice", id))
			break
		}
		p.seen |= 1 << id
		p.value[id] = of.property(clientProperties[id].kind)
	}
	if of.err != nil && c.err == nil {
		c.fail(of.err.code, of.err.text)
	}
	return p
}

func (c *packetCursor) property(kind propertyType) (value uint32) {
	switch kind {
	case propertyFlag:
		if value = uint32(c.uint8()); value > 1 {
			c.fail(codeProtocolError, "protocol error: a property that must be 0 or 1")
		}
	case propertyUint16, propertyPositive16:
		value = uint32(c.uint16())
	case propertyUint32, propertyPositive32:
		value = c.uint32()
	case propertyPositiveVariable:
		value = c.variable()
	case propertyText:
		c.text()
	case propertyBinary:
		c.binary()
	case propertyPair:
		c.text()
		c.text()
	}
	if kind >= propertyPositive16 && value == 0 {
		c.fail(codeProtocolError, "protocol error: a property that must not be 0")
	}
	return value
}
