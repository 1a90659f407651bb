package broker

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// connectOf is a CONNECT of an older version, with a will if there is a topic for it.
func connectOf(
	name string, level, flags byte, clientID, willTopic, will, user, password string,
) []byte {
	body := append(mqttText(name), level, flags, 0, 60)
	fields := []string{clientID}
	if willTopic != "" {
		fields = append(fields, willTopic, will)
	}
	for _, s := range append(fields, user, password) {
		body = append(body, mqttText(s)...)
	}
	packet := []byte{0x10}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			packet = append(packet, byte(n))
			break
		}
		packet = append(packet, byte(n)|0x80)
	}
	return append(packet, body...)
}

// answer sends a packet and returns all that comes back until the connection is closed.
func (c *client) answer(packet []byte) []byte {
	c.t.Helper()
	c.write(packet...)
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	got, err := io.ReadAll(c.conn)
	if err != nil {
		c.t.Errorf("it is not closed: %v", err)
	}
	return got
}

func TestConnect_OlderVersionsGetTheirReturnCodes(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ConnectTimeout = 2 * time.Second })
	long := strings.Repeat("g", 65535)
	const user, withWill, clean = 0xc0, 0x04, 0x02
	for name, tt := range map[string]struct {
		packet []byte
		want   []byte // nil: closed without a word
	}{
		"a wrong secret": {
			connectOf("MQTT", 4, user|clean, "g1", "", "", "g1", "x"), []byte{0x20, 2, 0, 5},
		},
		"a wrong secret, MQTT 3.1": {
			connectOf("MQIsdp", 3, user|clean, "g1", "", "", "g1", "x"), []byte{0x20, 2, 0, 5},
		},
		"an empty secret": {
			connectOf("MQTT", 4, user|clean, "g1", "", "", "g1", ""), []byte{0x20, 2, 0, 5},
		},
		"another gateway's client id": {
			connectOf("MQTT", 4, user|clean, "g2", "", "", "g1", "secret"), []byte{0x20, 2, 0, 2},
		},
		"a client id of 65,535 bytes": {
			connectOf("MQTT", 4, user|clean, long, "", "", "g1", "secret"), []byte{0x20, 2, 0, 2},
		},
		"a client id of 257 bytes": {
			connectOf("MQTT", 4, user|clean, long[:257], "", "", "g1", "secret"),
			[]byte{0x20, 2, 0, 2},
		},
		"a long client id, MQTT 3.1": {
			connectOf("MQIsdp", 3, user|clean, long, "", "", "g1", "secret"), []byte{0x20, 2, 0, 2},
		},
		"a client id that is not UTF-8": {
			connectOf("MQTT", 4, user|clean, "g1:\xff", "", "", "g1", "secret"),
			[]byte{0x20, 2, 0, 2},
		},
		"a client id with U+0000": {
			connectOf("MQTT", 4, user|clean, "g1:\x00", "", "", "g1", "secret"),
			[]byte{0x20, 2, 0, 2},
		},
		"no client id for a lasting session": {
			connectOf("MQTT", 4, user, "", "", "", "g1", "secret"), []byte{0x20, 2, 0, 2},
		},
		"a will too large": {
			connectOf("MQTT", 4, user|clean|withWill, "g1", "x", long, "g1", "secret"),
			[]byte{0x20, 2, 0, 5},
		},
		"an unknown version": {
			connectOf("MQTT", 3, user|clean, "g1", "", "", "g1", "secret"), []byte{0x20, 2, 0, 1},
		},
		"version 4 by the old name": {
			connectOf("MQIsdp", 4, user|clean, "g1", "", "", "g1", "secret"), []byte{0x20, 2, 0, 1},
		},
		"a bridge": {
			connectOf("MQTT", 0x84, user|clean, "g1", "", "", "g1", "secret"),
			[]byte{0x20, 2, 0, 1},
		},
		"a later version": {
			connectOf("MQTT", 6, user|clean, "g1", "", "", "g1", "secret"),
			[]byte{0x20, 64, 0, 0x84},
		},
		"another protocol": {
			connectOf("HTTP", 4, user|clean, "g1", "", "", "g1", "secret"), nil,
		},
		"the reserved flag": {
			connectOf("MQTT", 4, user|clean|1, "g1", "", "", "g1", "secret"), nil,
		},
		"a password without a user": {
			connectOf("MQTT", 4, 0x42, "g1", "", "", "g1", "secret"), nil,
		},
		"a will of QoS 3": {
			connectOf("MQTT", 4, user|clean|withWill|0x18, "g1", "x", "x", "g1", "secret"), nil,
		},
		"the QoS of a will without a will": {
			connectOf("MQTT", 4, user|clean|0x08, "g1", "", "", "g1", "secret"), nil,
		},
		"a will on a wildcard": {
			connectOf("MQTT", 4, user|clean|withWill, "g1", "x/#", "x", "g1", "secret"), nil,
		},
		"bytes after its end": {
			connectOf("MQTT", 4, clean, "g1", "", "", "g1", "secret"), nil,
		},
		"a PUBLISH": {[]byte{0x30, 3, 0, 1, 'a'}, nil},
		"flags of the fixed header": {
			append([]byte{0x12},
				connectOf("MQTT", 4, user|clean, "g1", "", "", "g1", "secret")[1:]...),
			nil,
		},
		"a length that does not end": {[]byte{0x10, 0xff, 0xff, 0xff, 0xff, 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.dial().answer(tt.packet)
			if !bytes.HasPrefix(got, tt.want) || len(tt.want) == 4 && tt.want[1] == 2 &&
				len(got) > 4 || tt.want == nil && len(got) > 0 {
				t.Errorf("got % x, want % x", got, tt.want)
			}
		})
	}
	for name, packet := range map[string][]byte{
		"MQTT 3.1": connectOf("MQIsdp", 3, user|clean, "g1", "", "", "g1", "secret"),
		"a will that is retained, of QoS 2, without a payload": connectOf("MQTT", 4,
			user|clean|withWill|0x30, "g1", "x", "", "g1", "secret"),
		"a client id of 256 bytes": connectOf("MQTT", 4, user|clean,
			"g1:"+long[:253], "", "", "g1", "secret"),
	} {
		c := old{b.dial()}
		c.write(packet...)
		c.gets(0x20, 2, 0, 0)
		if _, err := c.conn.Write([]byte{0xc0, 0}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.gets(0xd0, 0)
	}
}

func TestConnect_Version5(t *testing.T) {
	b := newTestBroker(t, nil)
	for name, tt := range map[string]struct {
		connect   func(*packets.Connect)
		want, why string
	}{
		"a client id of 65,535 bytes": {
			func(c *packets.Connect) { c.ClientID = strings.Repeat("g", 65535) },
			"CONNACK 0x85", "the client id has 65535 bytes; at most 256 are allowed",
		},
		"a client id that is not UTF-8": {
			func(c *packets.Connect) { c.ClientID = "g1:\xff" }, "CONNACK 0x85",
			"the client id is not valid UTF-8",
		},
		"a will too large": {
			will("x", strings.Repeat("x", 60_000)), "CONNACK 0x95",
			"the CONNECT, its will included, must not be larger than 16384 bytes",
		},
		"a user property too large": {func(c *packets.Connect) {
			c.Properties.User = []packets.User{{Key: "x", Value: strings.Repeat("x", 20_000)}}
		}, "CONNACK 0x95", "must not be larger"},
		"an authentication method": {
			func(c *packets.Connect) { c.Properties.AuthMethod = "SCRAM-SHA-1" }, "CONNACK 0x8c",
			"use user name and password",
		},
		"receive maximum 0": {
			func(c *packets.Connect) { c.Properties.ReceiveMaximum = ptr(uint16(0)) },
			"CONNACK 0x82", "must not be 0",
		},
		"a will on a wildcard": {will("x/+", "x"), "CONNACK 0x82", "wildcard"},
		"an empty secret": {
			func(c *packets.Connect) { c.Password = nil }, "CONNACK 0x86", "no gateway in use",
		},
		"a reason string within the client's maximum packet size": {
			func(c *packets.Connect) {
				c.ClientID, c.Properties.MaximumPacketSize = "g2", ptr(
					uint32(200),
				)
			},
			"CONNACK 0x85", "must be the user name",
		},
		"a reason string over the client's maximum packet size": {
			func(c *packets.Connect) {
				c.ClientID, c.Properties.MaximumPacketSize = "g2", ptr(
					uint32(20),
				)
			},
			"CONNACK 0x85", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.dial()
			if got := c.login("g1", tt.connect); got != tt.want ||
				!strings.Contains(c.why, tt.why) || tt.why == "" && c.why != "" {
				t.Errorf("got %s, %q, want %s, %q", got, c.why, tt.want, tt.why)
			}
			c.reads("closed")
		})
	}
	c := b.client("g1", will("gateways/g1/status", ""))
	c.pings()
}
