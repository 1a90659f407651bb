package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/ingest"
)

const topic = "sensors/g1/s/data"

func TestPubackFollowsTheReceipt(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	c.publish(1, 7, topic, `{"value":1}`)
	m := b.next(1)[0]
	if m.Topic != topic || string(m.Payload) != `{"value":1}` || m.Gateway != "g1" ||
		time.Since(m.Received) > time.Minute {
		t.Errorf("submitted: %+v", m)
	}
	c.pings() // no PUBACK before it
	m.Done(ingest.Receipt{})
	c.reads("PUBACK 7 0x00")
}

func TestPubacksAreInOrderAndGathered(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	const n = 200
	for i := range n {
		c.publish(1, uint16(i+1), topic, "x")
	}
	ms := b.next(n)
	c.pings()
	for _, i := range rand.Perm(n - 1) {
		ms[i+1].Done(ingest.Receipt{})
	}
	c.pings()
	ms[0].Done(ingest.Receipt{})
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	buf := make([]byte, 4096)
	got, err := c.conn.Read(buf)
	if err != nil || got%n != 0 {
		t.Fatalf("one read: got %d bytes, %v, want all %d", got, err, n)
	}
	size := got / n
	for i := range n {
		if pk := buf[i*size:]; pk[0] != 0x40 || int(pk[2])<<8|int(pk[3]) != i+1 {
			t.Fatalf("PUBACK %d: % x", i+1, pk[:size])
		}
	}
	c.pings()
}

func TestPubacksWaitForTheOnesBefore(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	for i := range 5 {
		c.publish(1, uint16(i+1), topic, "x")
	}
	ms := b.next(5)
	for _, step := range []struct {
		done int
		want []string
	}{
		{3, nil},
		{0, []string{"PUBACK 1 0x00"}},
		{2, nil},
		{1, []string{"PUBACK 2 0x00", "PUBACK 3 0x00", "PUBACK 4 0x00"}},
		{4, []string{"PUBACK 5 0x00"}},
	} {
		ms[step.done].Done(ingest.Receipt{})
		c.reads(step.want...)
		c.pings()
	}
}

func TestReasons(t *testing.T) {
	refused := ingest.Receipt{Code: 0x99, Text: "malformed: it is empty", Refused: 1}
	partly := ingest.Receipt{Text: "1 of 2 refused"}
	none := func(*packets.Connect) {}
	tests := map[string]struct {
		connect func(*packets.Connect)
		receipt ingest.Receipt
		want    string
	}{
		"success has no reason": {none, ingest.Receipt{}, "PUBACK 1 0x00"},
		"a refusal says why": {
			none, refused, "PUBACK 1 0x99 malformed: it is empty",
		},
		"a success may say something": {
			none, partly, "PUBACK 1 0x00 1 of 2 refused",
		},
		"not to a client that wants none": {
			func(c *packets.Connect) { c.Properties.RequestProblemInfo = ptr(byte(0)) }, refused,
			"PUBACK 1 0x99",
		},
		"to a client that says that it wants it": {
			func(c *packets.Connect) { c.Properties.RequestProblemInfo = ptr(byte(1)) }, refused,
			"PUBACK 1 0x99 malformed: it is empty",
		},
		"not to a client that cannot take so much": {
			func(c *packets.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(30)) }, refused,
			"PUBACK 1 0x99",
		},
		"to a client that can take it just so": {
			func(c *packets.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(31)) }, refused,
			"PUBACK 1 0x99 malformed: it is empty",
		},
		"a long one is whole, within what a packet is": {
			none,
			ingest.Receipt{Code: 0x83, Text: strings.Repeat("ä", 900)},
			"PUBACK 1 0x83 " + strings.Repeat("ä", 900),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			c := b.client("g1", tt.connect)
			c.publish(1, 1, topic, "")
			b.next(1)[0].Done(tt.receipt)
			c.reads(tt.want)
			c.pings()
		})
	}
}

func TestQualitiesOfService(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	c.publish(0, 0, topic, "a")
	if m := b.next(1)[0]; m.Done != nil {
		t.Error("QoS 0 is to be acknowledged")
	}
	c.pings()
	c.publish(2, 5, topic, "b")
	c.reads("DISCONNECT 0x9b", "closed")
	if m := b.next(1)[0]; m.Refused != ingest.RefusedQoS || m.Topic != topic ||
		string(m.Payload) != "b" || m.GatewayID != 1 {
		t.Errorf("submitted for the record: %+v", m)
	}
	c = b.client("g1")
	c.publish(1, 0, topic, "c") // without a packet id
	c.reads("DISCONNECT 0x82", "closed")
	b.none()
}

func TestLogin(t *testing.T) {
	b := newBench(t, nil)
	set := func(f func(*packets.Connect)) func(*packets.Connect) { return f }
	tests := map[string]struct {
		connect func(*packets.Connect)
		down    bool
		want    string
	}{
		"the right secret": {
			set(func(*packets.Connect) {}), false, "CONNACK 0x00",
		},
		"a suffix to tell connections apart": {
			set(func(c *packets.Connect) { c.ClientID = "g1:2" }), false, "CONNACK 0x00",
		},
		"a wrong secret": {
			set(func(c *packets.Connect) { c.Password = []byte("x") }), false, "CONNACK 0x86",
		},
		"no secret": {
			set(func(c *packets.Connect) { c.PasswordFlag, c.Password = false, nil }), false,
			"CONNACK 0x86",
		},
		"an unknown gateway": {
			set(func(c *packets.Connect) { c.ClientID, c.Username = "g9", "g9" }), false,
			"CONNACK 0x86",
		},
		"nobody": {
			set(func(c *packets.Connect) { c.UsernameFlag, c.PasswordFlag, c.Username = false, false, "" }),
			false, "CONNACK 0x85",
		},
		"another gateway's client id": {
			set(func(c *packets.Connect) { c.ClientID = "g2" }), false, "CONNACK 0x85",
		},
		"a client id that only begins so": {
			set(func(c *packets.Connect) { c.ClientID = "g12" }), false, "CONNACK 0x85",
		},
		"no client id": {
			set(func(c *packets.Connect) { c.ClientID = "" }), false, "CONNACK 0x85",
		},
		"a database that is away": {set(func(*packets.Connect) {}), true, "CONNACK 0x88"},
		"a database away does not tell who": {
			set(func(c *packets.Connect) { c.Password = []byte("x") }), true, "CONNACK 0x88",
		},
		"a will of QoS 2": {set(func(c *packets.Connect) {
			c.WillFlag, c.WillTopic, c.WillQOS, c.WillMessage, c.WillProperties = true, "x", 2, []byte("x"), &packets.Properties{}
		}), false, "CONNACK 0x9b"},
		"a will that is to be retained": {set(func(c *packets.Connect) {
			c.WillFlag, c.WillTopic, c.WillRetain, c.WillMessage, c.WillProperties = true, "x", true, []byte("x"), &packets.Properties{}
		}), false, "CONNACK 0x9a"},
		"a keep-alive of 43691 s": {
			set(func(c *packets.Connect) { c.KeepAlive = 43691 }), false, "CONNACK 0x00",
		},
		"the longest keep-alive that there is": {
			set(func(c *packets.Connect) { c.KeepAlive = 65535 }), false, "CONNACK 0x00",
		},
	}
	reasons := map[string]string{
		"CONNACK 0x85": "the client id must be the user name",
		"CONNACK 0x86": "no gateway in use has this key with this secret",
		"CONNACK 0x88": "the database is away; try again later",
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b.set(func() { b.down = tt.down })
			defer b.set(func() { b.down = false })
			c := b.dial()
			if got := c.login("g1", tt.connect); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if why := reasons[tt.want]; !strings.Contains(c.why, why) ||
				tt.want == "CONNACK 0x00" && c.why != "" {
				t.Errorf("got the reason %q, want %q", c.why, why)
			}
			if tt.want == "CONNACK 0x00" {
				c.pings()
				c.pings()
				c.leave()
			} else {
				c.reads("closed")
			}
		})
	}
	for secret, want := range map[string]byte{"secret": 0, "x": 5} {
		c := old{b.dial()}
		c.write(c.connect("g1", secret)...)
		c.gets(0x20, 2, 0, want)
		c.close()
	}
}

func TestConnackSaysWhatNeedNotBeTried(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ReceiveMaximum, c.MaxPacket = 17, 5000 })
	c := b.dial()
	c.sendConnect("g1")
	pk, err := packets.ReadPacket(c.conn)
	if err != nil {
		t.Fatal(err)
	}
	p := pk.Content.(*packets.Connack).Properties
	zero := func(b *byte) bool { return b != nil && *b == 0 }
	if p.MaximumQOS == nil || *p.MaximumQOS != 1 || !zero(p.RetainAvailable) ||
		!zero(p.WildcardSubAvailable) || !zero(p.SharedSubAvailable) ||
		p.ReceiveMaximum == nil || *p.ReceiveMaximum != 17 || p.MaximumPacketSize == nil ||
		*p.MaximumPacketSize != 5000 || p.TopicAliasMaximum != nil &&
		*p.TopicAliasMaximum != 0 {
		t.Errorf("got %v", p)
	}
}

func TestOldVersion(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ReceiveMaximum = 3 })
	c := b.old("g1")
	c.publish(0, 0, topic, "0")
	for i := range 5 { // more than Receive Maximum, of which it was not told
		c.publish(1, uint16(i+1), topic, fmt.Sprint(i+1))
	}
	ms := b.next(4)
	ms[2].Done(ingest.Receipt{})
	ms[1].Done(ingest.Receipt{Code: 0x99, Text: "malformed"}) // there is no way to say so
	c.gets(0x40, 2, 0, 1, 0x40, 2, 0, 2)
	for _, m := range append(b.next(2), ms[3]) {
		m.Done(ingest.Receipt{})
	}
	c.gets(0x40, 2, 0, 3, 0x40, 2, 0, 4, 0x40, 2, 0, 5)
	c.write(0x82, 8, 0, 9, 0, 3, 'a', '/', '#', 1)
	c.gets(0x90, 3, 0, 9, 0x80)
	c.write(0xc0, 0)
	c.gets(0xd0, 0)
	c.publish(2, 9, topic, "x")
	c.ends(limit)
}

func TestReceiveMaximum(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ReceiveMaximum = 5 })
	c := b.client("g1")
	for i := range 5 {
		c.publish(1, uint16(i+1), topic, "x")
	}
	ms := b.next(5)
	c.pings()
	ms[0].Done(ingest.Receipt{})
	c.reads("PUBACK 1 0x00")
	c.publish(1, 6, topic, "x")
	c.publish(0, 0, topic, "loose") // does not count
	b.next(2)
	c.pings()
	c.publish(1, 7, topic, "too many")
	c.reads("DISCONNECT 0x93", "closed")
	for _, m := range ms[1:] {
		m.Done(ingest.Receipt{}) // the gateway is gone
	}
	b.none()
}

func TestSubscriptions(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	tests := map[string]string{
		"gateways/g1/commands": "0x01", "gateways/g1/commands/restart": "0x01",
		"gateways/g1/receipts": "0x01", "gateways/g1/receipts/a/b": "0x01",
		"#": "0xa2", "+/+/commands": "0xa2", "gateways/g1/commands/#": "0xa2",
		"gateways/g1/commands/+": "0xa2", "$SYS/#": "0xa2",
		"$share/x/gateways/g1/commands": "0x9e", "$share/x/#": "0x9e",
		"gateways/#/commands": "0x8f",
		"gateways/g1/data":    "0x87", "sensors/g1/s/data": "0x87", "gateways/g2/commands": "0x87",
		"gateways/g2/receipts": "0x87",
		"$SYS/broker/version":  "0x87", "/": "0x87", "gateways/g1": "0x87",
		"gateways/g11/commands": "0x87", "gateways/g1/commandsx": "0x87",
		"alarms/g1/s": "0x01", "alarms/g1/#": "0xa2", "alarms/g1/": "0x87", "alarms/g1/s/x": "0x87",
		"alarms/g2/s": "0x87", "alarms/g1": "0x87", "alarms/g11/s": "0x87",
	}
	id := uint16(0)
	for filter, want := range tests {
		id++
		cp := packets.NewControlPacket(packets.SUBSCRIBE)
		cp.Content.(*packets.Subscribe).PacketID = id
		cp.Content.(*packets.Subscribe).Subscriptions = []packets.SubOptions{
			{Topic: filter, QoS: 1},
		}
		if _, err := cp.WriteTo(c.conn); err != nil {
			t.Fatal(err)
		}
		if got, want := c.read(), fmt.Sprintf("SUBACK %d %s", id, want); got != want {
			t.Errorf("%s: got %s, want %s", filter, got, want)
		}
	}
	t.Run("nothing that is published reaches a subscriber", func(t *testing.T) {
		other := b.client("g2")
		for i, topic := range []string{"gateways/g1/commands", "gateways/g1/commands/restart"} {
			other.publish(1, uint16(i+1), topic, "rm -rf /")
			m := b.next(1)[0]
			if m.Gateway != "g2" || m.Topic != topic {
				t.Errorf("submitted: %+v", m)
			}
			m.Done(ingest.Receipt{Code: 0x83})
			other.reads(fmt.Sprintf("PUBACK %d 0x83", i+1))
		}
		c.pings()
	})
}

func TestTopicsThatAreNoneOfOurs(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	for i, topic := range []string{
		"x", "sensors/g2/s/data", "$SYS/broker/version", "$share/g/sensors/g1/s/data", "$share",
		"/", strings.Repeat("long/", 13000),
	} {
		c.publish(1, uint16(i+1), topic, "x")
		m := b.next(1)[0]
		if m.Topic != topic && m.Topic != "/"+topic || m.Gateway != "g1" ||
			ingest.ParseTopic(m.Topic).Gateway == "g1" {
			t.Errorf("submitted: %.100q by %s", m.Topic, m.Gateway)
		}
		m.Done(ingest.Receipt{Code: 0x83})
		c.reads(fmt.Sprintf("PUBACK %d 0x83", i+1))
	}
	for name, publish := range map[string]func(*client){
		"a wildcard": func(c *client) { c.publish(1, 1, "sensors/+/s/data", "x") },
		"no topic":   func(c *client) { c.publish(1, 1, "", "x") },
		"an alias": func(c *client) {
			c.send2(&packets.Publish{
				QoS:        1,
				PacketID:   1,
				Topic:      topic,
				Properties: &packets.Properties{TopicAlias: ptr(uint16(1))},
			})
		},
		"only an alias": func(c *client) {
			c.send2(&packets.Publish{
				QoS:        1,
				PacketID:   1,
				Properties: &packets.Properties{TopicAlias: ptr(uint16(1))},
			})
		},
		"a NUL":             func(c *client) { c.publish(1, 1, "sensors/g1\x00/s/data", "x") },
		"what is not UTF-8": func(c *client) { c.publish(1, 1, "sensors/g1\xff/s/data", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			c := b.client("g1")
			publish(c)
			c.ends(limit)
		})
	}
	b.none()
}

// send2 sends a PUBLISH as it is.
func (c *client) send2(pk *packets.Publish) {
	c.t.Helper()
	cp := packets.NewControlPacket(packets.PUBLISH)
	cp.Content, cp.Flags = pk, pk.QoS<<1
	if _, err := cp.WriteTo(c.conn); err != nil {
		c.t.Logf("publish: %v", err)
	}
}

func TestRetainedIsNotRetained(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1")
	c.write(append([]byte{0x33, byte(2 + len(topic) + 2 + 1 + 1)},
		append(mqttText(topic), 0, 1, 0, 'x')...)...)
	b.next(1)[0].Done(ingest.Receipt{})
	c.reads("PUBACK 1 0x00")
	if n := b.counted("oei_mqtt_retain_ignored_total", ""); n != 1 {
		t.Errorf("counted: %d", n)
	}
	older := old{b.dial()} // it was not told that nothing is retained
	connect := append(mqttText("MQTT"), 4, 0xe6, 0, 60)
	for _, s := range []string{
		"g2", "gateways/g2/status", `{"status":"offline","why":"will"}`, "g2", "secret",
	} {
		connect = append(connect, mqttText(s)...)
	}
	older.write(append([]byte{0x10, byte(len(connect))}, connect...)...)
	older.gets(0x20, 2, 0, 0)
	older.close()
	until(t, "the will came",
		func() bool {
			return strings.Contains(b.said(),
				`g2 by g2 {"status":"offline","why":"will"}`)
		}, b.said)
	if n := len(b.server.Topics.Retained.GetAll()); n != 0 {
		for topic := range b.server.Topics.Retained.GetAll() {
			if !strings.HasPrefix(topic, "$SYS") {
				t.Errorf("retained: %s", topic)
			}
		}
	}
}

func will(topic, payload string) func(*packets.Connect) {
	return func(c *packets.Connect) {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillProperties = true, topic, []byte(payload), &packets.Properties{}
	}
}

const (
	g1Online  = `gateways/1 by g1 {"status":"online"}`
	g1Offline = `gateways/1 by g1 {"status":"offline"}`
)

func TestWills(t *testing.T) {
	t.Run("its own status will is submitted when the connection breaks", func(t *testing.T) {
		b := newBench(t, nil)
		b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`)).close()
		b.says(g1Online, `gateways/g1 by g1 {"status":"offline","why":"will"}`, g1Offline)
	})
	t.Run("not when it says goodbye", func(t *testing.T) {
		b := newBench(t, nil)
		b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`)).leave()
		b.says(g1Online, g1Offline)
	})
	t.Run("without a will it is offline too", func(t *testing.T) {
		b := newBench(t, nil)
		b.client("g1").close()
		b.says(g1Online, g1Offline)
	})
	t.Run("a reading may be a will", func(t *testing.T) {
		b := newBench(t, nil)
		b.client("g1", will(topic, `{"value":null}`)).close()
		if m := b.next(1)[0]; m.Topic != topic || m.Gateway != "g1" ||
			string(m.Payload) != `{"value":null}` || m.Done != nil {
			t.Errorf("submitted: %+v", m)
		}
	})
	t.Run("a will for another gateway is submitted as this one's, for the pipeline to refuse",
		func(t *testing.T) {
			b := newBench(t, nil)
			b.client("g1", will("gateways/g2/status", `{"status":"offline"}`)).close()
			b.says(g1Online, `gateways/g2 by g1 {"status":"offline"}`, g1Offline)
		})
	t.Run("a will to anywhere else goes nowhere", func(t *testing.T) {
		b := newBench(t, nil)
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
		b.says(`gateways/2 by g2 {"status":"online"}`, g1Online, g1Offline)
		other.pings()
		b.none()
	})
	t.Run("one that takes over does not make it offline", func(t *testing.T) {
		b := newBench(t, nil)
		first := b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`))
		second := b.client("g1")
		first.reads("DISCONNECT 0x8e", "closed")
		until(t, "the first has left", func() bool { return b.connected() == 1 })
		second.pings()
		b.says(g1Online, g1Online)
		second.leave()
		b.says(g1Online, g1Online, g1Offline)
	})
	t.Run("the last of two connections makes it offline", func(t *testing.T) {
		b := newBench(t, nil)
		first := b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:a" })
		second := b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:b" })
		first.close()
		until(t, "the first has left", func() bool { return b.connected() == 1 })
		b.says(g1Online, g1Online)
		second.close()
		b.says(g1Online, g1Online, g1Offline)
	})
}

func TestTakeoverLeavesWhatIsUnacknowledged(t *testing.T) {
	b := newBench(t, nil)
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

func TestSessionPresent(t *testing.T) {
	kept := map[string]time.Duration{}
	start := func() *bench {
		b := newBench(t, nil)
		b.set(func() { b.kept = &kept })
		return b
	}
	lasting := func(c *packets.Connect) { c.CleanStart, c.Properties.SessionExpiryInterval = false, ptr(uint32(3600)) }
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
	until(t, "it is suspended",
		func() bool { b.mu.Lock(); defer b.mu.Unlock(); return kept["g1"] == time.Hour })
	restart()
	connect("after a restart while it was away", present, lasting)
	connect("taking over from itself", present, lasting)
	until(t, "the other one is gone", func() bool { return b.connected() == 1 })
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
	connect("and then it is gone", fresh, lasting)

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

func TestRevocation(t *testing.T) {
	b := newBench(t, nil)
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
	b.set(func() { b.down = true }) // nobody is thrown out because nobody can be asked
	b.revoke(t.Context())
	stays.pings()
}

func TestRevocationOfOneWhoDoesNotRead(t *testing.T) {
	b := newBench(t, nil)
	deaf, c := b.client("g1"), b.client("g2")
	deaf.stuff()
	b.set(func() { b.revoked[2000+'1'], b.revoked[2000+'2'] = true, true })
	c.ends(5 * time.Second)
}

// stuff asks for answers until the broker can write no more of them.
func (c *client) stuff() {
	c.t.Helper()
	_ = c.conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	pings := []byte(strings.Repeat("\xc0\x00", 1<<15))
	for {
		_ = c.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.conn.Write(pings); err != nil {
			return
		}
	}
}

func TestOneWhoDoesNotReadHoldsUpNobody(t *testing.T) {
	b := newBench(t, func(c *Config) { c.WriteTimeout = 2 * time.Second })
	deaf, c := b.client("g1"), b.client("g2")
	ms := b.unread(deaf)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, m := range ms {
			m.Done(ingest.Receipt{Code: 0x83, Text: strings.Repeat("x", 60_000)})
		}
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatal("the receipts wait for the client")
	}
	for i := range 20 {
		c.publish(1, uint16(i+1), "sensors/g2/s/data", "x")
		b.next(1)[0].Done(ingest.Receipt{})
		c.reads(fmt.Sprintf("PUBACK %d 0x00", i+1))
	}
	if b.connected() != 2 {
		t.Error("the deaf one was not there all the time")
	}
	until(t, "it is disconnected", func() bool { return b.connected() == 1 })
}

// unread has a client publish so much that it must not leave the answers unread, and returns the
// messages.
func (b *bench) unread(c *client) []ingest.Message {
	b.t.Helper()
	_ = c.conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	const n = 300
	for i := range n {
		c.publish(1, uint16(i+1), topic, "x")
	}
	return b.next(n)
}

func TestOneWhoSendsAndDoesNotReadIsDisconnected(t *testing.T) {
	b := newBench(t, func(c *Config) { c.WriteTimeout = time.Second })
	deaf := b.client("g1")
	for _, m := range b.unread(deaf) {
		m.Done(ingest.Receipt{Code: 0x83, Text: strings.Repeat("x", 60_000)})
	}
	loose := bytesOf(packets.PUBLISH, 0,
		&packets.Publish{Topic: topic, Properties: &packets.Properties{}})
	until(t, "it is disconnected", func() bool {
		_, _ = deaf.conn.Write(loose)
		return b.connected() == 0
	})
}

func TestAnAcknowledgementLeavesNoDeadline(t *testing.T) {
	b := newBench(t, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	c := b.client("g1", func(c *packets.Connect) { c.KeepAlive = 60 })
	c.publish(1, 1, topic, "x")
	b.next(1)[0].Done(ingest.Receipt{})
	c.reads("PUBACK 1 0x00")
	<-time.After(3 * 50 * time.Millisecond) // longer than a write may take
	c.pings()
}

func TestSilence(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ConnectTimeout = time.Second })
	good := b.client("g1")
	silent, slow := b.dial(), b.dial()
	began := time.Now()
	go func() { // a byte now and then does not help
		for _, octet := range (old{}).connect("g2", "secret") {
			if _, err := slow.conn.Write([]byte{octet}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	silent.ends(5 * time.Second)
	slow.ends(5 * time.Second)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("closed after %v", took)
	}
	good.pings() // it was silent for longer, but it is logged in
}

func TestKeepAlive(t *testing.T) {
	b := newBench(t, nil)
	c := b.client("g1", func(c *packets.Connect) { c.KeepAlive = 1 })
	c.ends(5 * time.Second)
	b.says(g1Online, g1Offline)
}

func TestCaps(t *testing.T) {
	tests := map[string]func(*Config){
		"in all":           func(c *Config) { c.MaxConnections = 3 },
		"from one address": func(c *Config) { c.MaxConnectionsPerAddress = 3 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, change)
			silent := b.dial() // counts too
			first := b.client("g1")
			b.client("g2")
			b.dial().ends(limit)
			surplus := b.dial()
			if got := surplus.login("g3"); got != "CONNACK 0x97" ||
				!strings.Contains(surplus.why, "as many connections as are allowed") {
				t.Errorf("one too many: got %q, %q", got, surplus.why)
			}
			surplus.ends(limit)
			older := old{b.dial()}
			older.write(older.connect("g3", "secret")...)
			older.gets(0x20, 2, 0, 3)
			older.ends(limit)
			for range mostSurplus { // who say nothing
				b.dial()
			}
			b.dial().ends(surplusTime / 2)
			first.pings()
			silent.close()
			until(t, "there is room",
				func() bool { return strings.HasPrefix(b.dial().login("g3"), "CONNACK 0x00") })
		})
	}
}

func TestPacketSize(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxPacket = 2000 })
	c := b.client("g1")
	c.publish(1, 1, topic, strings.Repeat("x", 1500))
	if m := b.next(1)[0]; len(m.Payload) != 1500 {
		t.Errorf("payload: got %d bytes", len(m.Payload))
	}
	c.publish(1, 2, topic, strings.Repeat("x", 3000))
	c.reads("DISCONNECT 0x95", "closed")
	m := b.next(1)[0]
	if m.Refused != ingest.RefusedTooLarge || m.Topic != topic || len(m.Payload) != 3000 ||
		m.GatewayID != 1 || m.Done != nil {
		t.Errorf("submitted for the record: %+v", m)
	}
	c = b.client("g1")
	// much more than the sockets hold: the client reads why it ends all the same
	huge := make([]byte, 5<<20)
	go func() {
		_, _ = c.conn.Write(append(append([]byte{0x32, 0x80, 0x80, 0xc0, 2}, mqttText(topic)...),
			huge...))
	}()
	c.reads("DISCONNECT 0x95", "closed")
	if m := b.next(1)[0]; m.Refused != ingest.RefusedTooLarge || m.Topic != topic ||
		len(m.Payload) > maxRecorded {
		t.Errorf("submitted for the record: %s on %s, %d bytes", m.Refused, m.Topic, len(m.Payload))
	}
	older := b.old("g2")
	older.write(append([]byte{0x32, 0x90, 0x4e}, mqttText(topic)...)...)
	older.write(huge[:10000]...)
	older.gets() // nothing: MQTT 3.1.1 has no DISCONNECT from the server
	older.ends(limit)
	b.next(1)
	silent := b.dial()
	silent.write(0x10, 0xff, 0xff, 0xff, 0x7f) // a CONNECT of 256 MiB
	silent.ends(limit)
	b.none()
}

func TestPanicHarmsOneConnection(t *testing.T) {
	b := newBench(t, nil)
	var bombs atomic.Int32
	b.set(func() {
		b.submit = func(_ context.Context, m ingest.Message) error {
			if string(m.Payload) == "bomb" {
				bombs.Add(1)
				panic("bomb")
			}
			b.got <- m
			return nil
		}
	})
	bystander, c := b.client("g2"), b.client("g1")
	c.publish(1, 1, topic, "bomb")
	c.reads("DISCONNECT 0x83", "closed")
	b.client("g1", will(topic, "bomb")).close() // in a will
	until(t, "the will came", func() bool { return bombs.Load() == 2 })
	b.client("g1", func(c *packets.Connect) { // in a will that comes later
		will(topic, "bomb")(c)
		c.WillProperties.WillDelayInterval, c.Properties.SessionExpiryInterval = ptr(uint32(1)), ptr(uint32(100))
	}).close()
	bystander.publish(1, 1, "sensors/g2/s/data", "x")
	b.next(1)[0].Done(ingest.Receipt{})
	bystander.reads("PUBACK 1 0x00")
	until(t, "the delayed will came", func() bool { return bombs.Load() == 3 })
	bystander.pings()
}

func TestStopped(t *testing.T) {
	t.Run("a pipeline that takes nothing acknowledges nothing", func(t *testing.T) {
		b := newBench(t, nil)
		b.set(func() { b.submit = func(context.Context, ingest.Message) error { return ingest.ErrStopped } })
		c := b.client("g1")
		c.publish(1, 1, topic, "x")
		c.publish(0, 0, topic, "x")
		c.pings()
		if n := b.counted("oei_mqtt_qos0_dropped_total", ""); n != 1 {
			t.Errorf("counted %d dropped messages of QoS 0, want 1", n)
		}
		b.stop()
		c.reads("DISCONNECT 0x8b", "closed")
	})
	t.Run("it stops while a publisher waits, a client is deaf, and one has not logged in",
		func(t *testing.T) {
			b := newBench(t, nil)
			waiting := make(chan struct{}, 1)
			b.set(func() {
				b.submit = func(ctx context.Context, _ ingest.Message) error {
					waiting <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				}
			})
			b.dial()
			b.client("g2").stuff()
			b.client("g1").publish(1, 1, topic, "x")
			<-waiting
			began := time.Now()
			b.stop()
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			if _, err := net.Dial("tcp", b.addr); err == nil {
				t.Error("it listens")
			}
		})
}

func TestPaho(t *testing.T) {
	b := newBench(t, nil)
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: conn})
	ack, err := c.Connect(t.Context(), &paho.Connect{
		ClientID:     "g1",
		CleanStart:   true,
		KeepAlive:    30,
		Username:     "g1",
		UsernameFlag: true,
		Password:     []byte("secret"),
		PasswordFlag: true,
	})
	if err != nil || ack.ReasonCode != 0 {
		t.Fatalf("got %+v, %v", ack, err)
	}
	go func() {
		for m := range b.got {
			receipt := ingest.Receipt{}
			if string(m.Payload) == "bad" {
				receipt = ingest.Receipt{Code: 0x99, Text: "malformed"}
			}
			m.Done(receipt)
		}
	}()
	defer close(b.got)
	defer b.stop()
	for i := range 100 {
		if _, err := c.Publish(t.Context(),
			&paho.Publish{QoS: 1, Topic: topic, Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := c.Publish(t.Context(), &paho.Publish{QoS: 1, Topic: topic, Payload: []byte("bad")})
	if err == nil || res.ReasonCode != 0x99 || res.Properties.ReasonString != "malformed" {
		t.Errorf("refused: got %+v, %v", res, err)
	}
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Error(err)
	}
	<-c.Done()
}

func TestConfigNamesEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := errors.Join(Config{}.Validate(), Config{MaxPacket: 1 << 30}.Validate())
	for _, want := range []string{
		"OEI_BROKER_MAX_CONNECTIONS: 0", "OEI_BROKER_MAX_CONNECTIONS_PER_ADDRESS: 0",
		"OEI_BROKER_MAX_PACKET: 0", "OEI_BROKER_MAX_PACKET: 1073741824",
		"OEI_BROKER_RECEIVE_MAXIMUM: 0",
		"OEI_BROKER_CONNECT_TIMEOUT and OEI_BROKER_WRITE_TIMEOUT: too short",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
