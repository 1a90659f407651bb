package broker

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

// TestRandomBytes_HarmNoOtherConnection sends noise and damaged sessions to the broker, before and
// after a CONNECT.
func TestRandomBytes_HarmNoOtherConnection(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ConnectTimeout = time.Second })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	go func() {
		for m := range b.got {
			if m.Done != nil {
				m.Done(ingest.Receipt{Code: 0x99, Text: "malformed"})
			}
		}
	}()
	bystander := b.client("g2", func(c *packets.Connect) { c.KeepAlive = 60 })
	noise := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		return p
	}
	for i := range 400 {
		c := b.dial()
		go func() { _, _ = io.Copy(io.Discard, c.conn) }() // ends with the connection
		switch session := validSession(rnd); i % 4 {
		case 0:
			c.write(noise(rnd.IntN(300) + 1)...)
		case 1:
			c.write(append(connectPacket(), noise(rnd.IntN(300)+1)...)...)
		case 2: // bits turned
			for range rnd.IntN(8) + 1 {
				session[rnd.IntN(len(session))] ^= 1 << rnd.IntN(8)
			}
			c.write(session...)
		case 3: // bytes cut out, doubled or replaced
			from := rnd.IntN(len(session))
			to := from + rnd.IntN(len(session)-from)
			damaged := append(bytes.Clone(session[:from]), noise(rnd.IntN(5))...)
			if rnd.IntN(2) == 0 {
				damaged = append(damaged, session[from:to]...)
			}
			c.write(append(damaged, session[to:]...)...)
		}
		if rnd.IntN(3) > 0 {
			c.close()
		}
		if i%50 == 0 {
			bystander.pings()
		}
	}
	bystander.pings()
	bystander.publish(1, 1, "sensors/g2/s/data", "x")
	bystander.reads("PUBACK 1 0x99 malformed")
	b.client("g3").pings()
	b.stop()
	close(b.got)
}

// bytesOf encodes a packet.
func bytesOf(kind, flags byte, content packets.Packet) []byte {
	var buf bytes.Buffer
	cp := packets.NewControlPacket(kind)
	cp.Content = content
	if flags != 0 {
		cp.Flags = flags
	}
	_, _ = cp.WriteTo(&buf) // a buffer takes everything
	return buf.Bytes()
}

func connectPacket() []byte {
	return bytesOf(packets.CONNECT, 0, &packets.Connect{
		ProtocolName:    "MQTT",
		ProtocolVersion: 5,
		ClientID:        "g1",
		UsernameFlag:    true,
		Username:        "g1",
		PasswordFlag:    true,
		Password:        []byte("secret"),
		WillFlag:        true,
		WillTopic:       "gateways/g1/status",
		WillMessage:     []byte(`{"status":"offline"}`),
		WillProperties:  &packets.Properties{WillDelayInterval: ptr(uint32(1))},
		Properties: &packets.Properties{
			SessionExpiryInterval: ptr(uint32(60)),
			ReceiveMaximum:        ptr(uint16(10)),
			User:                  []packets.User{{Key: "a", Value: "b"}},
		},
	})
}

// validSession is what a well-behaved gateway might send.
func validSession(rnd *rand.Rand) []byte {
	out := connectPacket()
	for i := range rnd.IntN(5) + 1 {
		out = append(out, bytesOf(packets.PUBLISH, 2, &packets.Publish{
			QoS: 1, PacketID: uint16(i + 1), Topic: topic, Payload: []byte(`{"value":1}`),
			Properties: &packets.Properties{
				ContentType:   "application/json",
				User:          []packets.User{{Key: "k", Value: "v"}},
				MessageExpiry: ptr(uint32(9)),
			},
		})...)
	}
	out = append(out, bytesOf(packets.SUBSCRIBE, 2, &packets.Subscribe{
		PacketID:      99,
		Subscriptions: []packets.SubOptions{{Topic: "gateways/g1/commands", QoS: 1}},
		Properties:    &packets.Properties{SubscriptionIdentifier: ptr(5)},
	})...)
	out = append(out,
		bytesOf(packets.UNSUBSCRIBE, 2,
			&packets.Unsubscribe{
				PacketID:   98,
				Topics:     []string{"gateways/g1/commands"},
				Properties: &packets.Properties{},
			})...)
	out = append(out, 0xc0, 0)
	return append(out,
		bytesOf(packets.DISCONNECT, 0, &packets.Disconnect{Properties: &packets.Properties{}})...)
}
