package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// client speaks MQTT v5 packet by packet.
type client struct {
	t    testing.TB
	conn net.Conn
	why  string // reason string of the last CONNACK
}

func (b *testBroker) dial() *client {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.over(conn)
}

// over returns a client that speaks over conn.
func (b *testBroker) over(conn net.Conn) *client {
	c := &client{t: b.t, conn: conn}
	b.t.Cleanup(c.close)
	return c
}

// client returns one that is logged in as gateway.
func (b *testBroker) client(gateway string, change ...func(*packets.Connect)) *client {
	b.t.Helper()
	c := b.dial()
	if got := c.login(gateway, change...); !strings.HasPrefix(got, "CONNACK 0x00") {
		b.t.Fatalf("login of %s: %s", gateway, got)
	}
	return c
}

// login sends a CONNECT and returns the answer.
func (c *client) login(gateway string, change ...func(*packets.Connect)) string {
	c.t.Helper()
	c.sendConnect(gateway, change...)
	return c.read()
}

func (c *client) sendConnect(gateway string, change ...func(*packets.Connect)) {
	c.t.Helper()
	pk := &packets.Connect{
		ProtocolName:    "MQTT",
		ProtocolVersion: 5,
		ClientID:        gateway,
		CleanStart:      true,
		UsernameFlag:    true,
		Username:        gateway,
		PasswordFlag:    true, Password: []byte("secret"), Properties: &packets.Properties{},
	}
	for _, f := range change {
		f(pk)
	}
	c.send(packets.CONNECT, pk)
}

func (c *client) send(kind byte, content packets.Packet) {
	c.t.Helper()
	if _, err := (&packets.ControlPacket{
		FixedHeader: packets.FixedHeader{Type: kind},
		Content:     content,
	}).WriteTo(c.conn); err != nil {
		c.t.Logf("send: %v", err)
	}
}

func (c *client) publish(qos byte, id uint16, topic, payload string) {
	c.t.Helper()
	pk := &packets.Publish{
		QoS:        qos,
		PacketID:   id,
		Topic:      topic,
		Payload:    []byte(payload),
		Properties: &packets.Properties{},
	}
	cp := packets.NewControlPacket(packets.PUBLISH)
	cp.Content, cp.Flags = pk, qos<<1
	if _, err := cp.WriteTo(c.conn); err != nil {
		c.t.Logf("publish: %v", err)
	}
}

func (c *client) write(b ...byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Logf("write: %v", err)
	}
}

// read reads the next packet and returns it as text: kind, packet id, reason code, reason string.
func (c *client) read() string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	pk, err := packets.ReadPacket(c.conn)
	var netErr net.Error
	switch {
	case errors.As(err, &netErr) && netErr.Timeout():
		return "nothing"
	case err != nil:
		return "closed"
	}
	text := func(p *packets.Properties) string {
		if p == nil || p.ReasonString == "" {
			return ""
		}
		return " " + p.ReasonString
	}
	switch p := pk.Content.(type) {
	case *packets.Connack:
		c.why = strings.TrimSpace(text(p.Properties))
		return fmt.Sprintf("CONNACK %#02x%s", p.ReasonCode,
			map[bool]string{true: " session present"}[p.SessionPresent])
	case *packets.Puback:
		return fmt.Sprintf("PUBACK %d %#02x%s", p.PacketID, p.ReasonCode, text(p.Properties))
	case *packets.Disconnect:
		return fmt.Sprintf("DISCONNECT %#02x", p.ReasonCode)
	case *packets.Suback:
		return fmt.Sprintf("SUBACK %d % #x", p.PacketID, p.Reasons)
	case *packets.Publish:
		return fmt.Sprintf("PUBLISH %s %s", p.Topic, p.Payload)
	}
	return pk.PacketType()
}

// reads checks the next packets, without PINGRESPs that are not wanted: the broker sends one
// unasked when it has not read for more than a millisecond, which on a busy machine a login may
// take.
func (c *client) reads(want ...string) {
	c.t.Helper()
	for _, w := range want {
		got := c.read()
		for got == "PINGRESP" && got != w {
			got = c.read()
		}
		if got != w {
			c.t.Fatalf("read: got %q, want %q", got, w)
		}
	}
}

// pings checks that the next packet is the answer to a PINGREQ: that nothing else was sent before.
func (c *client) pings() {
	c.t.Helper()
	c.write(0xc0, 0)
	c.reads("PINGRESP")
}

// ends checks that the broker closes the connection; it may send something before.
func (c *client) ends(within time.Duration) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(within))
	if _, err := io.Copy(io.Discard, c.conn); err != nil {
		var netErr net.Error
		if errors.As(err, &netErr) && netErr.Timeout() {
			c.t.Fatalf("the connection is open after %v", within)
		}
	}
}

func (c *client) close() { _ = c.conn.Close() }

// leave says goodbye.
func (c *client) leave() {
	c.send(packets.DISCONNECT, &packets.Disconnect{Properties: &packets.Properties{}})
	c.ends(limit)
	c.close()
}

// old speaks MQTT 3.1.1.
type old struct{ *client }

func (b *testBroker) old(gateway string) old {
	b.t.Helper()
	c := old{b.dial()}
	c.write(old{}.connect(gateway, "secret")...)
	c.gets(0x20, 2, 0, 0)
	return c
}

func mqttText(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

func (old) connect(gateway, secret string) []byte {
	body := append(mqttText("MQTT"), 4, 0xc2, 0, 60)
	body = append(append(append(body, mqttText(gateway)...), mqttText(gateway)...),
		mqttText(secret)...)
	return append([]byte{0x10, byte(len(body))}, body...)
}

func (c old) publish(qos byte, id uint16, topic, payload string) {
	c.t.Helper()
	body := mqttText(topic)
	if qos > 0 {
		body = append(body, byte(id>>8), byte(id))
	}
	body = append(body, payload...)
	c.write(append([]byte{0x30 | qos<<1, byte(len(body))}, body...)...)
}

// gets checks the bytes that come next.
func (c old) gets(want ...byte) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.conn, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("got % x, %v, want % x", got[:n], err, want)
	}
}

func ptr[T any](v T) *T { return &v }
