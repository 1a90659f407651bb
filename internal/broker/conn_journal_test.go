package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

func TestConnJournal_LogsAndCountsEndedConnections(t *testing.T) {
	b := newTestBroker(t,
		func(c *Config) { c.MaxPacket, c.ReceiveMaximum, c.ConnectTimeout = 5000, 2, time.Second })
	const ended, refused = "oei_mqtt_connections_ended_total", "oei_mqtt_connections_refused_total"
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
			b.disconnectRevoked(t.Context())
			b.set(func() { clear(b.revoked) })
		})},
		{
			refused, "credential",
			func() {
				b.dial().login("g1",
					func(c *packets.Connect) { c.Password = []byte("wrong") })
			},
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
			testutil.Eventually(t, testutil.Timeout, "it is counted",
				func() bool { return b.counted(tt.counter, tt.reason) == before+1 }, b.out.String)
			testutil.Eventually(t, testutil.Timeout, "it is logged",
				func() bool {
					return strings.Contains(b.out.String(), "reason="+tt.reason)
				}, b.out.String)
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

// TestConnJournal_TwoDevicesWithOneClientID connects two devices that take over from each other.
func TestConnJournal_TwoDevicesWithOneClientID(t *testing.T) {
	b := newTestBroker(t, nil)
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
	testutil.Eventually(t, testutil.Timeout, "all are counted",
		func() bool { return b.counted("oei_mqtt_connections_ended_total", "taken_over") == 7 })
	detail, err := b.Check(t.Context())
	if err != nil || !strings.Contains(detail, "7 connections a minute are taken over") {
		t.Errorf("got %q, %v", detail, err)
	}
	if n := strings.Count(b.out.String(), "reason=taken_over"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, b.out.String())
	}
}
