package broker

import (
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

func will(topic, payload string) func(*packets.Connect) {
	return func(c *packets.Connect) {
		c.WillFlag, c.WillTopic, c.WillMessage = true, topic, []byte(payload)
		c.WillProperties = &packets.Properties{}
	}
}

const (
	g1Online  = `gateways/1 by g1 {"status":"online"}`
	g1Offline = `gateways/1 by g1 {"status":"offline"}`
)

func TestWill(t *testing.T) {
	t.Run("its own status will is submitted when the connection breaks", func(t *testing.T) {
		b := newTestBroker(t, nil)
		b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`)).close()
		b.waitForStatuses(g1Online, `gateways/g1 by g1 {"status":"offline","why":"will"}`,
			g1Offline)
	})
	t.Run("not when it says goodbye", func(t *testing.T) {
		b := newTestBroker(t, nil)
		b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`)).leave()
		b.waitForStatuses(g1Online, g1Offline)
	})
	t.Run("without a will it is offline too", func(t *testing.T) {
		b := newTestBroker(t, nil)
		b.client("g1").close()
		b.waitForStatuses(g1Online, g1Offline)
	})
	t.Run("a reading may be a will", func(t *testing.T) {
		b := newTestBroker(t, nil)
		b.client("g1", will(topic, `{"value":null}`)).close()
		if m := b.next(1)[0]; m.Topic != topic || m.Gateway != "g1" ||
			string(m.Payload) != `{"value":null}` || m.Done != nil {
			t.Errorf("submitted: %+v", m)
		}
	})
	t.Run("a will for another gateway is submitted as this one's, for the pipeline to refuse",
		func(t *testing.T) {
			b := newTestBroker(t, nil)
			b.client("g1", will("gateways/g2/status", `{"status":"offline"}`)).close()
			b.waitForStatuses(g1Online, `gateways/g2 by g1 {"status":"offline"}`, g1Offline)
		})
	t.Run("a will to anywhere else goes nowhere", func(t *testing.T) {
		b := newTestBroker(t, nil)
		other := b.client("g2")
		cp := packets.NewControlPacket(packets.SUBSCRIBE)
		cp.Content.(*packets.Subscribe).PacketID = 1
		cp.Content.(*packets.Subscribe).Subscriptions = []packets.SubOptions{
			{Topic: "gateways/g2/commands"},
		}
		if _, err := cp.WriteTo(other.conn); err != nil {
			t.Fatal(err)
		}
		other.reads("SUBACK 1 0x00")
		b.client("g1", will("gateways/g2/commands", "format c:")).close()
		b.waitForStatuses(`gateways/2 by g2 {"status":"online"}`, g1Online, g1Offline)
		other.pings()
		b.none()
	})
	t.Run("one that takes over does not make it offline", func(t *testing.T) {
		b := newTestBroker(t, nil)
		first := b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`))
		second := b.client("g1")
		first.reads("DISCONNECT 0x8e", "closed")
		testutil.Eventually(t, testutil.Timeout, "the first has left",
			func() bool { return b.connected() == 1 })
		second.pings()
		b.waitForStatuses(g1Online, g1Online)
		second.leave()
		b.waitForStatuses(g1Online, g1Online, g1Offline)
	})
	t.Run("the last of two connections makes it offline", func(t *testing.T) {
		b := newTestBroker(t, nil)
		first := b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:a" })
		second := b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:b" })
		first.close()
		testutil.Eventually(t, testutil.Timeout, "the first has left",
			func() bool { return b.connected() == 1 })
		b.waitForStatuses(g1Online, g1Online)
		second.close()
		b.waitForStatuses(g1Online, g1Online, g1Offline)
	})
}
