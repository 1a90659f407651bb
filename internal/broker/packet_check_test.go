package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2/packets"
)

// clientPackets returns one packet of each type that a client sends after its CONNECT, with
// everything in it that MQTT allows.
func clientPackets(version byte) map[string][]byte {
	if version < 5 {
		return map[string][]byte{
			"PUBLISH 0":   {0x30, 5, 0, 2, 'a', 'b', 'x'},
			"PUBLISH 1":   {0x3a, 7, 0, 2, 'a', 'b', 0, 1, 'x'},
			"PUBACK":      {0x40, 2, 0, 1},
			"PUBREC":      {0x50, 2, 0, 1},
			"PUBREL":      {0x62, 2, 0, 1},
			"PUBCOMP":     {0x70, 2, 0, 1},
			"SUBSCRIBE":   {0x82, 12, 0, 1, 0, 2, 'a', 'b', 1, 0, 2, 'c', 'd', 0},
			"UNSUBSCRIBE": {0xa2, 10, 0, 1, 0, 2, 'a', 'b', 0, 2, 'c', 'd'},
			"PINGREQ":     {0xc0, 0},
			"DISCONNECT":  {0xe0, 0},
		}
	}
	user := []packets.User{{Key: "a", Value: "b"}, {Key: "a", Value: "c"}}
	publish := &packets.Publish{
		QoS: 1, PacketID: 1, Topic: topic, Payload: []byte(`{"value":1}`),
		Properties: &packets.Properties{
			PayloadFormat:   ptr(byte(1)),
			MessageExpiry:   ptr(uint32(9)),
			ContentType:     "application/json",
			ResponseTopic:   "gateways/g1/receipts",
			CorrelationData: []byte{0, 1, 255}, User: user,
		},
	}
	loose := *publish
	loose.QoS, loose.PacketID = 0, 0
	reason := &packets.Properties{ReasonString: "why", User: user}
	return map[string][]byte{
		"PUBLISH 0": bytesOf(packets.PUBLISH, 0, &loose),
		"PUBLISH 1": bytesOf(packets.PUBLISH, 2, publish),
		"PUBACK": bytesOf(packets.PUBACK, 0,
			&packets.Puback{PacketID: 1, ReasonCode: 0x80, Properties: reason}),
		"PUBREC": bytesOf(packets.PUBREC, 0,
			&packets.Pubrec{PacketID: 1, ReasonCode: 0x80, Properties: reason}),
		"PUBREL": bytesOf(packets.PUBREL, 2,
			&packets.Pubrel{PacketID: 1, ReasonCode: 0x92, Properties: reason}),
		"PUBCOMP": bytesOf(packets.PUBCOMP, 0,
			&packets.Pubcomp{PacketID: 1, ReasonCode: 0x92, Properties: reason}),
		"SUBSCRIBE": bytesOf(packets.SUBSCRIBE, 2, &packets.Subscribe{
			PacketID: 1,
			Subscriptions: []packets.SubOptions{
				{Topic: "gateways/g1/commands", QoS: 1, NoLocal: true, RetainHandling: 2},
				{Topic: "x/#"},
			},
			Properties: &packets.Properties{SubscriptionIdentifier: ptr(268435455), User: user},
		}),
		"UNSUBSCRIBE": bytesOf(packets.UNSUBSCRIBE, 2,
			&packets.Unsubscribe{
				PacketID:   1,
				Topics:     []string{"a", "b"},
				Properties: &packets.Properties{User: user},
			}),
		"PINGREQ": {0xc0, 0},
		"DISCONNECT": bytesOf(packets.DISCONNECT, 0, &packets.Disconnect{
			ReasonCode: 4,
			Properties: &packets.Properties{
				SessionExpiryInterval: ptr(uint32(0)),
				ReasonString:          "why",
				User:                  user,
			},
		}),
	}
}

// split returns the first byte of a packet of less than 128 × 128 bytes, and its body.
func split(packet []byte) (first byte, body []byte) {
	head := 2
	if packet[1] >= 0x80 {
		head = 3
	}
	return packet[0], packet[head:]
}

// joined is a packet with this body.
func joined(first byte, body []byte) []byte {
	packet := []byte{first, byte(len(body))}
	if len(body) >= 0x80 {
		packet = []byte{first, byte(len(body)) | 0x80, byte(len(body) >> 7)}
	}
	return append(packet, body...)
}

func TestPacketCheck_AcceptsWhatMQTTAllows(t *testing.T) {
	for _, version := range []byte{3, 4, 5} {
		for name, packet := range clientPackets(version) {
			first, body := split(packet)
			if f := (packetChecker{version: version}).check(first, body); f != nil {
				t.Errorf("version %d: %s: got %v", version, name, f)
			}
		}
	}
	for name, packet := range map[string][]byte{
		"a DISCONNECT without a reason":    {0xe0, 0},
		"a DISCONNECT without properties":  {0xe0, 1, 0},
		"a PUBACK without a reason":        {0x40, 2, 0, 1},
		"a PUBACK without properties":      {0x40, 3, 0, 1, 0x10},
		"a PUBLISH without a payload":      {0x30, 4, 0, 1, 'a', 0},
		"a PUBLISH with an empty property": {0x30, 7, 0, 1, 'a', 3, 3, 0, 0},
	} {
		first, body := split(packet)
		if f := (packetChecker{version: 5}).check(first, body); f != nil {
			t.Errorf("%s: got %v", name, f)
		}
	}
}

func TestPacketCheck_RefusesTruncatedPackets(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for name, packet := range clientPackets(version) {
			first, body := split(packet)
			for n := range len(body) {
				f := (packetChecker{version: version}).check(first, body[:n])
				if f == nil && !mayEndAt(version, first, body, n) {
					t.Errorf("version %d: the first %d bytes of a %s are accepted", version, n,
						name)
				}
			}
		}
	}
}

// mayEndAt reports whether the first n bytes of a valid packet's body are one too: a shorter
// payload, fewer filters, a part of what an acknowledgement or a DISCONNECT may leave out.
func mayEndAt(version, first byte, body []byte, n int) bool {
	switch first >> 4 {
	case typePublish:
		_, payload := (packetChecker{version: version}).topicAndPayload(first, body)
		return n >= len(body)-len(payload)
	case typeSubscribe, typeUnsubscribe:
		// the first filter is shorter than what precedes it together with itself
		c := packetCursor{rest: body[2:n]}
		if version == 5 {
			c.take(int(c.variable()))
		}
		filters := 0
		for len(c.rest) > 0 && c.err == nil {
			c.binary()
			if first>>4 == typeSubscribe {
				c.uint8()
			}
			filters++
		}
		return c.err == nil && filters > 0
	case typeDisconnect:
		return version == 5 && n < 2
	}
	return version == 5 && (n == 2 || n == 3)
}

func TestPacketCheck_NamesTheError(t *testing.T) {
	text := func(s string) []byte { return mqttText(s) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	publish := func(properties ...byte) []byte {
		return join(text("a"), []byte{0, 1, byte(len(properties))}, properties)
	}
	subscribe := func(options byte, filter string) []byte {
		return join([]byte{0, 1, 0},
			text(filter), []byte{options})
	}
	tests := map[string]struct {
		first byte
		body  []byte
		want  byte
	}{
		"a second CONNECT":      {0x10, nil, codeProtocolError},
		"a CONNACK":             {0x20, []byte{0, 0, 0}, codeProtocolError},
		"a SUBACK":              {0x90, []byte{0, 1, 0, 0}, codeProtocolError},
		"an UNSUBACK":           {0xb0, []byte{0, 1, 0, 0}, codeProtocolError},
		"a PINGRESP":            {0xd0, nil, codeProtocolError},
		"an AUTH":               {0xf0, []byte{0, 0}, codeProtocolError},
		"the reserved type":     {0x00, nil, codeProtocolError},
		"flags of a SUBSCRIBE":  {0x80, subscribe(0, "a"), codeMalformed},
		"flags of a PINGREQ":    {0xc1, nil, codeMalformed},
		"a PINGREQ with a body": {0xc0, []byte{0}, codeMalformed},
		"QoS 3":                 {0x36, publish(), codeMalformed},
		"DUP at QoS 0":          {0x38, join(text("a"), []byte{0}), codeMalformed},
		"QoS 2":                 {0x34, publish(), codeQoS},
		"packet identifier 0": {
			0x32, join(text("a"), []byte{0, 0, 0}), codeProtocolError,
		},
		"a wildcard": {
			0x32, join(text("a/#"), []byte{0, 1, 0}), codeProtocolError,
		},
		"no topic": {
			0x32, join(text(""), []byte{0, 1, 0}), codeProtocolError,
		},
		"a topic that is not UTF-8": {
			0x32, join(text("a\xff"), []byte{0, 1, 0}), codeMalformed,
		},
		"a surrogate": {
			0x32, join(text("\xed\xa0\x80"), []byte{0, 1, 0}), codeMalformed,
		},
		"U+0000": {
			0x32, join(text("a\x00"), []byte{0, 1, 0}), codeMalformed,
		},
		"a topic alias":                          {0x32, publish(35, 0, 1), codeTopicAlias},
		"topic alias 0":                          {0x32, publish(35, 0, 0), codeTopicAlias},
		"a subscription identifier in a PUBLISH": {0x32, publish(11, 1), codeProtocolError},
		"an unknown property":                    {0x32, publish(99, 1), codeProtocolError},
		"a property of another packet": {
			0x32, publish(17, 0, 0, 0, 1),
			codeProtocolError,
		},
		"a property twice":                       {0x32, publish(1, 1, 1, 1), codeProtocolError},
		"an unknown payload format":              {0x32, publish(1, 2), codeProtocolError},
		"a property that is cut off":             {0x32, publish(2, 0, 0), codeMalformed},
		"a string of a property that is cut off": {0x32, publish(3, 0, 9, 'x'), codeMalformed},
		"properties longer than the packet": {
			0x32, join(text("a"), []byte{0, 1, 9, 1, 1}), codeMalformed,
		},
		"a length of properties that does not end": {
			0x32, join(text("a"), []byte{0, 1, 0x80, 0x80, 0x80, 0x80, 1}), codeMalformed,
		},
		"no filter": {0x82, []byte{0, 1, 0}, codeProtocolError},
		"a filter without options": {
			0x82, join([]byte{0, 1, 0}, text("a")), codeMalformed,
		},
		"QoS 3 of a subscription":         {0x82, subscribe(3, "a"), codeProtocolError},
		"reserved bits of a subscription": {0x82, subscribe(0x40, "a"), codeMalformed},
		"retain handling 3": {
			0x82, subscribe(0x30, "a"), codeProtocolError,
		},
		"No Local of a shared subscription": {
			0x82, subscribe(4, "$share/g/a"), codeProtocolError,
		},
		"subscription identifier 0": {
			0x82, join([]byte{0, 1, 2, 11, 0}, text("a"), []byte{0}), codeProtocolError,
		},
		"two subscription identifiers": {
			0x82, join([]byte{0, 1, 4, 11, 1, 11, 2}, text("a"), []byte{0}), codeProtocolError,
		},
		"no filter to unsubscribe": {0xa2, []byte{0, 1, 0}, codeProtocolError},
		"a session that did not last and now does": {
			0xe0, []byte{0, 5, 17, 0, 0, 0, 9}, codeProtocolError,
		},
		"bytes after a PUBACK":                       {0x40, []byte{0, 1, 0, 0, 9}, codeMalformed},
		"a packet identifier 0 that is acknowledged": {0x40, []byte{0, 0}, codeProtocolError},
	}
	for name, tt := range tests {
		f := (packetChecker{version: 5, neverExpire: true}).check(tt.first, tt.body)
		if f == nil || f.code != tt.want {
			t.Errorf("%s: got %v, want %#x", name, f, tt.want)
		}
	}
	for name, body := range map[string][]byte{
		"options of version 5":  join([]byte{0, 1}, text("a"), []byte{4}),
		"a filter without QoS":  join([]byte{0, 1}, text("a")),
		"half a filter":         {0, 1, 0, 3, 'a'},
		"no packet identifier":  {0},
		"nothing at all":        {},
		"half a length":         {0, 1, 0},
		"one filter and a half": join([]byte{0, 1}, text("a"), []byte{0, 0, 2, 'b'}),
	} {
		if f := (packetChecker{version: 4}).check(0x82, body); f == nil {
			t.Errorf("version 4: SUBSCRIBE with %s is accepted", name)
		}
	}
}

// decode has mochi-mqtt read a packet; it panics where mochi-mqtt does.
func decode(version, first byte, body []byte) {
	pk := mochi.Packet{
		ProtocolVersion: version,
		FixedHeader:     mochi.FixedHeader{Remaining: len(body)},
	}
	if pk.FixedHeader.Decode(first) != nil {
		return
	}
	body = bytes.Clone(body)
	switch pk.FixedHeader.Type {
	case mochi.Publish:
		_ = pk.PublishDecode(body)
	case mochi.Puback, mochi.Pubrec, mochi.Pubrel, mochi.Pubcomp:
		_ = pk.PubackDecode(body)
	case mochi.Subscribe:
		_ = pk.SubscribeDecode(body)
	case mochi.Unsubscribe:
		_ = pk.UnsubscribeDecode(body)
	case mochi.Disconnect:
		_ = pk.DisconnectDecode(body)
	}
}

// mutate turns bits, cuts, doubles and inserts bytes.
func mutate(rnd *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range rnd.IntN(4) {
		at := rnd.IntN(len(b) + 1)
		switch rnd.IntN(4) {
		case 0:
			if at < len(b) {
				b[at] ^= 1 << rnd.IntN(8)
			}
		case 1:
			b = b[:at]
		case 2:
			b = append(b[:at:at], append([]byte{byte(rnd.Uint32())}, b[at:]...)...)
		case 3:
			b = append(b, b[at:]...)
		}
	}
	return b
}

func TestPacketCheck_MutatedPacketsDoNotPanic(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	var last string
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("seed %d: %s: %v", seed, last, r)
		}
	}()
	for _, version := range []byte{3, 4, 5} {
		accepted := 0
		for name, packet := range clientPackets(version) {
			first, body := split(packet)
			for range 5000 {
				f, b := first, mutate(rnd, body)
				if rnd.IntN(10) == 0 {
					f = byte(rnd.Uint32())
				}
				last = fmt.Sprintf("version %d, %s: % x", version, name, joined(f, b))
				if (packetChecker{version: version}).check(f, b) == nil {
					accepted++
					decode(version, f, b)
				}
			}
		}
		if accepted < 1000 {
			t.Errorf("version %d: only %d were accepted", version, accepted)
		}
	}
}

func FuzzPacketCheck(f *testing.F) {
	for _, version := range []byte{4, 5} {
		for _, packet := range clientPackets(version) {
			first, body := split(packet)
			f.Add(version, first, body)
		}
	}
	f.Fuzz(func(_ *testing.T, version, first byte, body []byte) {
		version = 3 + version%3
		if (packetChecker{version: version}).check(first, body) == nil {
			decode(version, first, body)
		}
	})
}
