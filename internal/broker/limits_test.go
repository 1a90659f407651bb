package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

func TestSessions_OfAGatewayAreBounded(t *testing.T) {
	b := newBench(t, nil)
	named := func(i int) func(*packets.Connect) {
		return func(c *packets.Connect) {
			c.ClientID, c.CleanStart, c.Properties.SessionExpiryInterval = fmt.Sprintf("g1:%d", i), false, ptr(uint32(3600))
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
	until(t, "it is counted",
		func() bool { return b.counted("oei_mqtt_refused_connections_total", "sessions") == 2 })
}

func TestSessions_OfClientsThatAreAwayAreBounded(t *testing.T) {
	b := newBench(t, nil)
	b.set(func() { b.kept = nil })
	connect := func(i int) string {
		c := b.dial()
		got := c.login("g1", func(c *packets.Connect) {
			c.ClientID, c.CleanStart, c.Properties.SessionExpiryInterval = fmt.Sprintf("g1:%d", i), false, ptr(uint32(3600))
		})
		c.write(subscribeTo("gateways/g1/commands")...)
		c.reads("SUBACK 1 0x01")
		c.close()
		until(t, "it is away", func() bool { return b.connected() == 0 })
		return got
	}
	for i := range 3 * maxSessions {
		connect(i)
	}
	until(t, "no more are kept",
		func() bool { return len(b.server.Clients.GetAll()) <= maxSessions })
	if n := len(b.server.Topics.Subscribers("gateways/g1/commands").Subscriptions); n != maxSessions {
		t.Errorf("%d subscriptions are kept, want %d", n, maxSessions)
	}
	if got := connect(3*maxSessions - 1); got != "CONNACK 0x00 session present" {
		t.Errorf("the last: got %s", got)
	}
	if got := connect(0); got != "CONNACK 0x00" {
		t.Errorf("the first: got %s", got)
	}
}

func TestSubscriptions_OfASessionAreBounded(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	filters := make([]string, maxSubscriptions+1)
	for i := range filters {
		filters[i] = fmt.Sprintf("alarms/g1/s%d", i)
	}
	c.write(subscribeTo(filters...)...)
	want := "SUBACK 1 " + strings.Repeat("0x01 ", maxSubscriptions) + "0x97"
	if got := c.read(); got != want {
		t.Errorf("got %.100s … %s", got, got[max(0, len(got)-20):])
	}
	long := "gateways/g1/commands/" + strings.Repeat("x", 60_000)
	for filters, want := range map[[2]string]string{
		{filters[0], "alarms/g1/another"}: "SUBACK 1 0x01 0x97",
		{long, "gateways/g2/commands"}:    "SUBACK 1 0x97 0x87",
	} {
		c.write(subscribeTo(filters[:]...)...)
		c.reads(want)
	}
	older := b.old("g2")
	older.write(joined(0x82,
		append(append([]byte{0, 9}, mqttText("gateways/g2/commands/"+strings.Repeat("x", 1920))...),
			1))...)
	older.gets(0x90, 3, 0, 9, 0x80)
}

func TestWrongSecrets_AreLimited(t *testing.T) {
	b := newBench(t, nil)
	b.set(func() { b.failures = map[string]int{} })
	wrong := func(c *packets.Connect) { c.Password = []byte("x") }
	b.set(func() { b.down = true })
	for range 5 { // is no failure of the gateway
		if got := b.dial().login("g1", wrong); got != "CONNACK 0x88" {
			t.Errorf("while the database is away: got %s", got)
		}
	}
	b.set(func() { b.down = false })
	for range maxFailures {
		if got := b.dial().login("g1", wrong); got != "CONNACK 0x86" {
			t.Errorf("got %s", got)
		}
	}
	b.client("g2")
	var before, after int
	b.set(func() { before = b.logins })
	c := b.dial()
	if got := c.login("g1"); got != "CONNACK 0x9f" || c.why != "too many wrong secrets; wait 7m0s" {
		t.Errorf("the right secret then: got %s, %q", got, c.why)
	}
	if got := (old{b.dial()}).answer(connectOf("MQTT", 4, 0xc2, "g1", "", "", "g1", "x")); string(
		got,
	) != "\x20\x02\x00\x03" {
		t.Errorf("by MQTT 3.1.1: got % x", got)
	}
	b.set(func() { after = b.logins })
	if after != before {
		t.Error("secrets are looked at all the same")
	}
	until(t, "it is counted",
		func() bool { return b.counted("oei_mqtt_refused_connections_total", "too_many_failed") == 2 })
	b.set(func() {
		if n := b.failures["127.0.0.1 g2"]; n != 0 {
			t.Errorf("g2 has %d failures", n)
		}
	})
}
