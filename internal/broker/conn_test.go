package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
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

func TestConnect_OlderVersionsGetReturnCodesOfTheirs(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ConnectTimeout = 2 * time.Second })
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
		"a client id of another": {
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
		"a version that never was": {
			connectOf("MQTT", 3, user|clean, "g1", "", "", "g1", "secret"), []byte{0x20, 2, 0, 1},
		},
		"version 4 by the old name": {
			connectOf("MQIsdp", 4, user|clean, "g1", "", "", "g1", "secret"), []byte{0x20, 2, 0, 1},
		},
		"a bridge": {
			connectOf("MQTT", 0x84, user|clean, "g1", "", "", "g1", "secret"),
			[]byte{0x20, 2, 0, 1},
		},
		"a version to come": {
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
		"the QoS of a will that is not there": {
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
	b := newBench(t, nil)
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
		"a reason that the client can take": {
			func(c *packets.Connect) {
				c.ClientID, c.Properties.MaximumPacketSize = "g2", ptr(
					uint32(200),
				)
			},
			"CONNACK 0x85", "must be the user name",
		},
		"one that it cannot": {
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

// TestMalformedPackets sends every kind of packet cut off at every byte, by clients of each version
// that have logged in.
func TestMalformedPackets_EndTheConnectionAtOnce(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxPacket = 1 << 20 })
	b.set(func() { b.submit = func(context.Context, ingest.Message) error { return nil } })
	bystander := b.client("g2")
	ended := 0
	for _, version := range []byte{4, 5} {
		for name, packet := range clientPackets(version) {
			first, body := split(packet)
			for n := 0; n < len(body); n += 1 + n/8 {
				f := (packetChecker{version: version}).check(first, body[:n])
				if f == nil {
					continue
				}
				ended++
				var got []byte
				if version == 5 {
					c := b.client("g1")
					got = c.answer(joined(first, body[:n]))
				} else {
					got = b.old("g1").answer(joined(first, body[:n]))
				}
				if version == 5 &&
					!bytes.HasPrefix(got, []byte{0xe0, byte(len(got) - 2), f.code}) ||
					version == 4 && len(got) > 0 {
					t.Errorf("version %d: %d bytes of %s: got % x, want a DISCONNECT %#x", version,
						n, name, got, f.code)
				}
			}
		}
	}
	until(t, "every one is offline",
		func() bool { return strings.Count(b.said(), g1Offline) >= 1 && b.connected() == 1 }, b.said)
	bystander.pings()
	if out := b.out.String(); strings.Contains(out, "panic") ||
		strings.Contains(out, "goroutine") || strings.Count(out, "reason=malformed") != 1 {
		t.Errorf("logged:\n%s", out)
	}
	until(t, "every one is counted", func() bool {
		const counter = "oei_mqtt_ended_connections_total"
		return b.counted(counter, "malformed")+b.counted(counter, "protocol_error") == ended
	})
}

// TestMalformedPackets_BeforeTheLogin sends a CONNECT cut off at every byte.
func TestMalformedPackets_BeforeTheLogin(t *testing.T) {
	b := newBench(t, nil)
	for _, packet := range [][]byte{
		connectPacket(), connectOf("MQTT", 4, 0xc6, "g1", "x", "x", "g1", "secret"),
		connectOf("MQIsdp", 3, 0xc2, "g1", "", "", "g1", "secret"),
	} {
		first, body := split(packet)
		for n := range len(body) {
			got := b.dial().answer(joined(first, body[:n]))
			if len(got) > 0 &&
				(got[0] != 0x20 || got[3] != codeMalformed && got[3] != codeProtocolError) {
				t.Errorf("%d of %d bytes: got % x", n, len(body), got)
			}
		}
	}
	b.client("g1").pings()
	if out := b.out.String(); strings.Contains(out, "panic") {
		t.Errorf("logged:\n%s", out)
	}
	if got := b.said(); got != g1Online {
		t.Errorf("said: %s", got)
	}
}

func TestEndedConnections_AreLoggedAndCounted(t *testing.T) {
	b := newBench(t,
		func(c *Config) { c.MaxPacket, c.ReceiveMaximum, c.ConnectTimeout = 5000, 2, time.Second })
	const ended, refused = "oei_mqtt_ended_connections_total", "oei_mqtt_refused_connections_total"
	v5 := func(end func(*client)) func() {
		return func() {
			c := b.client("g1")
			end(c)
			c.ends(
				limit,
			)
		}
	}
	for _, tt := range []struct {
		counter, reason string
		run             func()
	}{
		{
			ended, "disconnect",
			v5(func(c *client) {
				c.send(packets.DISCONNECT,
					&packets.Disconnect{Properties: &packets.Properties{}})
			}),
		},
		{ended, "closed", func() { b.client("g1").close() }},
		{ended, "qos", v5(func(c *client) { c.publish(2, 1, topic, "x") })},
		{ended, "qos", func() { c := b.old("g1"); c.publish(2, 1, topic, "x"); c.ends(limit) }},
		{
			ended, "too_large",
			v5(func(c *client) { c.publish(1, 1, topic, strings.Repeat("x", 6000)) }),
		},
		{ended, "malformed", v5(func(c *client) { c.write(0x82, 1, 0) })},
		{ended, "protocol_error", v5(func(c *client) { c.publish(1, 0, topic, "x") })},
		{ended, "topic_alias", v5(func(c *client) {
			c.send2(&packets.Publish{
				QoS:        1,
				PacketID:   1,
				Topic:      topic,
				Properties: &packets.Properties{TopicAlias: ptr(uint16(1))},
			})
		})},
		{ended, "receive_maximum", v5(func(c *client) {
			for i := range 4 {
				c.publish(1, uint16(i+1), topic, "x")
			}
		})},
		{ended, "taken_over", func() { c := b.client("g1"); b.client("g1"); c.ends(limit) }},
		{ended, "keep_alive", func() {
			c := b.client("g1", func(c *packets.Connect) { c.KeepAlive = 1 })
			c.reads("DISCONNECT 0x8d", "closed")
		}},
		{ended, "revoked", v5(func(*client) {
			b.set(func() { b.revoked[2000+'1'] = true })
			b.revoke(t.Context())
			b.set(func() { clear(b.revoked) })
		})},
		{
			refused, "credential",
			func() { b.dial().login("g1", func(c *packets.Connect) { c.Password = []byte("wrong") }) },
		},
		{
			refused, "client_id",
			func() { b.dial().login("g1", func(c *packets.Connect) { c.ClientID = "g2" }) },
		},
		{
			refused, "version",
			func() { b.dial().answer(connectOf("MQTT", 3, 0xc2, "g1", "", "", "g1", "secret")) },
		},
		{refused, "no_connect", func() { b.dial().answer([]byte{0xc0, 0}) }},
		{refused, "timeout", func() { b.dial().ends(limit) }},
		{refused, "closed", func() { c := b.dial(); c.write(0x10); c.close() }},
	} {
		t.Run(tt.counter+" "+tt.reason, func(t *testing.T) {
			before := b.counted(tt.counter, tt.reason)
			tt.run()
			until(t, "it is counted",
				func() bool { return b.counted(tt.counter, tt.reason) == before+1 }, b.out.String)
			until(t, "it is logged",
				func() bool { return strings.Contains(b.out.String(), "reason="+tt.reason) }, b.out.String)
		})
		b.set(func() {
			for len(b.got) > 0 {
				<-b.got
			}
		})
	}
	for _, line := range strings.Split(strings.TrimSpace(b.out.String()), "\n") {
		if !strings.Contains(line, "level=INFO") || !strings.Contains(line, "address=127.0.0.1:") ||
			!strings.Contains(line, "gateway=") ||
			!strings.Contains(line, "reason=") || strings.Contains(line, "wrong") ||
			strings.Contains(line, "secret=") {
			t.Errorf("logged: %s", line)
		}
	}
	if !strings.Contains(b.out.String(), "gateway=g1 client_id=g1") ||
		!strings.Contains(b.out.String(), "reason=taken_over by=127.0.0.1:") {
		t.Errorf("logged:\n%s", b.out.String())
	}
}

// TestTakeOver_BetweenTwoDevices is two devices with one client id, which throw each other out.
func TestTakeOver_BetweenTwoDevices(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	for range 5 {
		next := b.client("g1")
		c.reads("DISCONNECT 0x8e", "closed")
		c = next
	}
	older := b.old("g1") // takes over from version 5, and is taken over
	c.reads("DISCONNECT 0x8e", "closed")
	b.old("g1")
	if got := older.answer(nil); len(got) > 0 {
		t.Errorf("an older version got % x: its protocol has no DISCONNECT from the server", got)
	}
	until(t, "all are counted",
		func() bool { return b.counted("oei_mqtt_ended_connections_total", "taken_over") == 7 })
	detail, err := b.Check(t.Context())
	if err != nil || !strings.Contains(detail, "7 connections a minute are taken over") {
		t.Errorf("got %q, %v", detail, err)
	}
	if n := strings.Count(b.out.String(), "reason=taken_over"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, b.out.String())
	}
}

func TestMemoryBeforeLogin_IsBounded(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ConnectTimeout = limit })
	value := func(name string) float64 { return gathered(t, b.reg, name) }
	packet := connectOf("MQTT", 4, 0xc6, "g1", "x", strings.Repeat("x", 16_000), "g1", "secret")
	const each = 16_000
	held := maxBeforeLogin / (each - freeBeforeLogin)
	for range held + 8 {
		c := b.dial()
		c.write(packet[:each]...) // never finished
	}
	until(t, "the memory for them is full",
		func() bool { return b.counted("oei_mqtt_refused_connections_total", "memory") > 0 }, b.out.String)
	until(t, "no more is held than allowed", func() bool {
		return value("oei_mqtt_pending_connections") <= float64(held) &&
			value("oei_mqtt_pending_bytes") <= maxBeforeLogin+float64(held+1)*freeBeforeLogin
	}, func() string {
		return fmt.Sprint(value("oei_mqtt_pending_connections"), value("oei_mqtt_pending_bytes"))
	})
	b.client("g1").pings() // an ordinary gateway finds room all the same
	b.old("g2")
	if n := value("oei_mqtt_pending_bytes"); n < maxBeforeLogin/2 {
		t.Errorf("only %v bytes are held", n)
	}
}

func gathered(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestMemoryBeforeLogin_OfOneConnection(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	var pending pendingLogins
	w := newWire(here, &pending)
	go func() { _, _ = io.Copy(there, strings.NewReader(strings.Repeat("x", 2*maxBytesBeforeLogin))) }()
	n, err := io.Copy(io.Discard, w)
	if n != maxBytesBeforeLogin || err == nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	w.login()
	if conns, bytes := pending.load(); conns != 0 || bytes != 0 || pending.shared != 0 {
		t.Errorf("after the login: %d connections, %d bytes", conns, bytes)
	}
}
