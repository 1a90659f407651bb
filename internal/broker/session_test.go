package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

func TestSession_TakeOverDropsPendingAcknowledgements(t *testing.T) {
	b := newTestBroker(t, nil)
	first := b.client("g1")
	first.publish(1, 1, topic, "x")
	m := b.next(1)[0]
	second := b.client("g1")
	first.reads("DISCONNECT 0x8e", "closed")
	m.Done(ingest.Receipt{})
	second.pings() // the acknowledgement was for the first
	second.publish(1, 1, topic, "x")
	b.next(1)[0].Done(ingest.Receipt{})
	second.reads("PUBACK 1 0x00")
}

func TestSession_Present(t *testing.T) {
	kept := map[string]time.Duration{}
	start := func() *testBroker {
		b := newTestBroker(t, nil)
		b.set(func() { b.kept = &kept })
		return b
	}
	lasting := func(c *packets.Connect) {
		c.CleanStart = false
		c.Properties.SessionExpiryInterval = ptr(uint32(3600))
	}
	brief := func(c *packets.Connect) { c.CleanStart = false }
	clean := func(c *packets.Connect) { c.Properties.SessionExpiryInterval = ptr(uint32(3600)) }
	b := start()
	restart := func() { b.stop(); b = start() }
	connect := func(name, want string, change func(*packets.Connect)) *client {
		t.Helper()
		c := b.dial()
		if got := c.login("g1", change); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		c.pings()
		return c
	}
	const fresh, present = "CONNACK 0x00", "CONNACK 0x00 session present"
	connect("the first time", fresh, lasting).close()
	connect("again", present, lasting)
	restart()
	c := connect("after a restart while it was connected", present, lasting)
	c.publish(1, 9, topic, "x")
	b.next(1)[0].Done(ingest.Receipt{})
	c.reads("PUBACK 9 0x00")
	c.leave()
	testutil.Eventually(t, testutil.Timeout, "it is suspended",
		func() bool { b.mu.Lock(); defer b.mu.Unlock(); return kept["g1"] == time.Hour })
	restart()
	connect("after a restart while it was away", present, lasting)
	connect("taking over from itself", present, lasting)
	testutil.Eventually(t, testutil.Timeout, "the other connection has ended",
		func() bool { return b.connected() == 1 })
	b.set(func() {
		if kept["g1"] != forEver {
			t.Errorf("the end of the one that was taken over counts: %v", kept["g1"])
		}
	})
	restart()
	connect("a clean start", fresh, clean)
	restart()
	connect("one that ends with its connection", present, brief)
	restart()
	connect("after its connection has ended", fresh, lasting)

	older := func(want ...byte) old {
		t.Helper()
		c := old{b.dial()}
		connect := c.connect("g2", "secret")
		connect[9] &^= 2 // clean session
		c.write(connect...)
		c.gets(want...)
		return c
	}
	older(0x20, 2, 0, 0)
	restart()
	older(0x20, 2, 1, 0)
}

func TestRevocation_EndsConnections(t *testing.T) {
	b := newTestBroker(t, nil)
	c, stays := b.client("g1"), b.client("g2")
	older := b.old("g3")
	b.set(func() { b.revoked[2000+'1'], b.revoked[2000+'3'] = true, true })
	began := time.Now()
	c.reads("DISCONNECT 0x87", "closed")
	older.ends(5 * time.Second)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	stays.pings()
	b.set(func() { b.down = true }) // without a database no connection is ended
	b.disconnectRevoked(t.Context())
	stays.pings()
}

func TestRevocation_EndsConnectionsOfClientsThatDoNotRead(t *testing.T) {
	b := newTestBroker(t, nil)
	slow, c := b.client("g1"), b.client("g2")
	slow.stuff()
	b.set(func() { b.revoked[2000+'1'], b.revoked[2000+'2'] = true, true })
	c.ends(5 * time.Second)
}

func TestSession_ConnectionsOfAGatewayAreLimited(t *testing.T) {
	b := newTestBroker(t, nil)
	named := func(i int) func(*packets.Connect) {
		return func(c *packets.Connect) {
			c.ClientID, c.CleanStart = fmt.Sprintf("g1:%d", i), false
			c.Properties.SessionExpiryInterval = ptr(uint32(3600))
		}
	}
	b.set(func() { b.kept = nil })
	var first *client
	for i := range maxSessions {
		if c := b.client("g1", named(i)); first == nil {
			first = c
		}
	}
	c := b.dial()
	if got := c.login("g1", named(maxSessions)); got != "CONNACK 0x97" ||
		!strings.Contains(c.why, "32 connections") {
		t.Errorf("one more: got %s, %q", got, c.why)
	}
	older := old{b.dial()}
	older.write(connectOf("MQTT", 4, 0xc2, "g1:x", "", "", "g1", "secret")...)
	older.gets(0x20, 2, 0, 3)
	b.client("g1", named(0)).pings() // takes over, and needs no room
	first.reads("DISCONNECT 0x8e", "closed")
	b.client("g2").pings()
	testutil.Eventually(t, testutil.Timeout, "it is counted",
		func() bool { return b.counted("oei_mqtt_connections_refused_total", "sessions") == 2 })
}

func TestSession_SessionsOfAbsentClientsAreLimited(t *testing.T) {
	b := newTestBroker(t, nil)
	b.set(func() { b.kept = nil })
	connect := func(i int) string {
		c := b.dial()
		got := c.login("g1", func(c *packets.Connect) {
			c.ClientID, c.CleanStart = fmt.Sprintf("g1:%d", i), false
			c.Properties.SessionExpiryInterval = ptr(uint32(3600))
		})
		c.write(subscribeTo("gateways/g1/commands")...)
		c.reads("SUBACK 1 0x01")
		c.close()
		testutil.Eventually(t, testutil.Timeout, "it is away",
			func() bool { return b.connected() == 0 })
		return got
	}
	for i := range 3 * maxSessions {
		connect(i)
	}
	testutil.Eventually(t, testutil.Timeout, "no more are kept",
		func() bool { return len(b.server.Clients.GetAll()) <= maxSessions })
	subs := b.server.Topics.Subscribers("gateways/g1/commands").Subscriptions
	if n := len(subs); n != maxSessions {
		t.Errorf("%d subscriptions are kept, want %d", n, maxSessions)
	}
	if got := connect(3*maxSessions - 1); got != "CONNACK 0x00 session present" {
		t.Errorf("the last: got %s", got)
	}
	if got := connect(0); got != "CONNACK 0x00" {
		t.Errorf("the first: got %s", got)
	}
}
