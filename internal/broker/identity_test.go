package broker

import (
	"errors"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

// TestRenamed is a gateway whose key is given to another while its connection is open. Nothing
// waits for the check of open connections, which is due every few seconds.
func TestRename_GatewayLosesTheTopicsOfItsFormerKey(t *testing.T) {
	const alarms = "alarms/g1/s"
	rename := func(b *testBroker) {
		b.set(func() {
			b.renamed = map[int64]string{2000 + '1': "g1-old"}
			b.ids["g1"] = 7
		})
	}
	t.Run("it cannot subscribe", func(t *testing.T) {
		b := newTestBroker(t, nil)
		c, older := b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:a" }), b.old("g1")
		rename(b)
		c.write(subscribeTo("gateways/g1/commands")...)
		c.reads("DISCONNECT 0x87", "closed")
		if got := older.answer([]byte{0x82, 8, 0, 9, 0, 3, 'a', '/', 'b', 1}); len(got) > 0 {
			t.Errorf("got % x", got)
		}
		testutil.Eventually(t, testutil.Timeout, "both connections have ended",
			func() bool { return b.connected() == 0 })
	})
	t.Run("it gets no alarms of the other gateway", func(t *testing.T) {
		b := newTestBroker(t, nil)
		c := b.client("g1")
		c.listen(alarms, 1, 0)
		rename(b)
		if err := b.Publish(t.Context(), alarms, []byte("x")); err != nil {
			t.Error(err)
		}
		c.pings()
	})
	t.Run("the other gateway does not inherit its session", func(t *testing.T) {
		b := newTestBroker(t, nil)
		lasting := func(c *packets.Connect) {
			c.CleanStart = false
			c.Properties.SessionExpiryInterval = ptr(uint32(3600))
		}
		b.set(func() { b.kept = nil })
		c := b.client("g1", lasting)
		c.listen("gateways/g1/commands/a", 1, 0)
		c.close()
		testutil.Eventually(t, testutil.Timeout, "the connection has ended",
			func() bool { return b.connected() == 0 })
		rename(b)
		b.set(func() { b.renamed = nil })
		heir := b.dial()
		if got := heir.login("g1", lasting); got != "CONNACK 0x00" {
			t.Errorf("got %s", got)
		}
		subs := b.server.Topics.Subscribers("gateways/g1/commands/a").Subscriptions
		if len(subs) > 0 {
			t.Errorf("it has subscriptions: %v", subs)
		}
	})
	t.Run("its status is reported under its id", func(t *testing.T) {
		b := newTestBroker(t, nil)
		c := b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`))
		rename(b)
		heir := b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:b" })
		c.close()
		testutil.Eventually(t, testutil.Timeout, "it is offline",
			func() bool { return strings.Contains(b.submittedStatuses(), g1Offline) },
			b.submittedStatuses)
		if !strings.Contains(b.submittedStatuses(), `gateways/7 by g1 {"status":"online"}`) ||
			strings.Contains(b.submittedStatuses(), `gateways/7 by g1 {"status":"offline"}`) {
			t.Errorf("said: %s", b.submittedStatuses())
		}
		heir.publish(1, 1, topic, "x")
		if m := b.next(1)[0]; m.GatewayID != 7 {
			t.Errorf("submitted: %+v", m)
		}
	})
}

func TestSubscribe_WithoutADatabase(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1")
	b.set(func() { b.down = true })
	c.write(subscribeTo("gateways/g1/commands")...)
	c.reads("DISCONNECT 0x88", "closed")
	b.set(func() { b.down = false })
	c = b.client("g1")
	c.listen("alarms/g1/s", 1, 0)
	b.set(func() { b.down = true })
	if err := b.Publish(t.Context(), "alarms/g1/s", []byte("x")); err == nil ||
		errors.Is(err, t.Context().Err()) {
		t.Errorf("got %v", err)
	}
}

// subscribeTo is a SUBSCRIBE with packet id 1.
func subscribeTo(filters ...string) []byte {
	pk := &packets.Subscribe{PacketID: 1, Properties: &packets.Properties{}}
	for _, f := range filters {
		pk.Subscriptions = append(pk.Subscriptions, packets.SubOptions{Topic: f, QoS: 1})
	}
	return bytesOf(packets.SUBSCRIBE, 2, pk)
}

// A key may have colons, so that a client id that begins with one gateway's key may be another's
// own.
func TestConnect_WithTheClientIDOfALongerKey(t *testing.T) {
	b := newTestBroker(t, nil)
	b.set(func() { b.secrets["g1:2:b"] = "secret" })
	for id, want := range map[string]string{
		"g1:2":                            "CONNACK 0x00",
		"g1:2:bb":                         "CONNACK 0x00",
		"g1:" + strings.Repeat("2:", 100): "CONNACK 0x00",
		"g1:2:b":                          "CONNACK 0x85",
		"g1:2:b:x":                        "CONNACK 0x85",
	} {
		c := b.dial()
		if got := c.login("g1", func(c *packets.Connect) { c.ClientID = id }); got != want {
			t.Errorf("%.20s: got %s, want %s", id, got, want)
		}
		c.close()
	}
	b.set(func() { b.secrets["00:1b:44:11:3a:b7"] = "secret" })
	if got := b.dial().login("00:1b:44:11:3a:b7",
		func(*packets.Connect) {}); got != "CONNACK 0x00" {
		t.Errorf("a gateway known by its MAC address: got %s", got)
	}
}
