package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

const topic = "sensors/g1/s/data"

func TestPuback_FollowsTheReceipt(t *testing.T) {
	b := newTestBroker(t, nil)
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

func TestPuback_ManyAreSentInOrderInOneWrite(t *testing.T) {
	b := newTestBroker(t, nil)
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

func TestPuback_WaitsForEarlierOnes(t *testing.T) {
	b := newTestBroker(t, nil)
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

func TestPuback_ReasonString(t *testing.T) {
	refused := ingest.Receipt{Code: 0x99, Text: "malformed: it is empty", RejectedTotal: 1}
	partly := ingest.Receipt{Text: "1 of 2 refused"}
	none := func(*packets.Connect) {}
	tests := map[string]struct {
		connect func(*packets.Connect)
		receipt ingest.Receipt
		want    string
	}{
		"a success has no reason string": {none, ingest.Receipt{}, "PUBACK 1 0x00"},
		"a rejection has a reason string": {
			none, refused, "PUBACK 1 0x99 malformed: it is empty",
		},
		"a success may have a reason string": {
			none, partly, "PUBACK 1 0x00 1 of 2 refused",
		},
		"a client that requests none gets none": {
			func(c *packets.Connect) { c.Properties.RequestProblemInfo = ptr(byte(0)) }, refused,
			"PUBACK 1 0x99",
		},
		"a client that requests it gets it": {
			func(c *packets.Connect) { c.Properties.RequestProblemInfo = ptr(byte(1)) }, refused,
			"PUBACK 1 0x99 malformed: it is empty",
		},
		"none over the client's maximum packet size": {
			func(c *packets.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(30)) }, refused,
			"PUBACK 1 0x99",
		},
		"one of just the client's maximum packet size": {
			func(c *packets.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(31)) }, refused,
			"PUBACK 1 0x99 malformed: it is empty",
		},
		"a long reason is sent whole": {
			none,
			ingest.Receipt{Code: 0x83, Text: strings.Repeat("ä", 900)},
			"PUBACK 1 0x83 " + strings.Repeat("ä", 900),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestBroker(t, nil)
			c := b.client("g1", tt.connect)
			c.publish(1, 1, topic, "")
			b.next(1)[0].Done(tt.receipt)
			c.reads(tt.want)
			c.pings()
		})
	}
}

func TestPublish_QoS(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1")
	c.publish(0, 0, topic, "a")
	if m := b.next(1)[0]; m.Done != nil {
		t.Error("QoS 0 is to be acknowledged")
	}
	c.pings()
	c.publish(2, 5, topic, "b")
	c.reads("DISCONNECT 0x9b", "closed")
	if m := b.next(1)[0]; m.Rejection != ingest.ReasonUnsupportedQoS || m.Topic != topic ||
		string(m.Payload) != "b" || m.GatewayID != 1 {
		t.Errorf("submitted for the record: %+v", m)
	}
	c = b.client("g1")
	c.publish(1, 0, topic, "c") // without a packet id
	c.reads("DISCONNECT 0x82", "closed")
	b.none()
}

func TestPublish_WithMQTT311(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ReceiveMaximum = 3 })
	c := b.old("g1")
	c.publish(0, 0, topic, "0")
	for i := range 5 { // more than Receive Maximum, of which it was not told
		c.publish(1, uint16(i+1), topic, fmt.Sprint(i+1))
	}
	ms := b.next(4)
	ms[2].Done(ingest.Receipt{})
	ms[1].Done(ingest.Receipt{Code: 0x99, Text: "malformed"}) // 3.1.1 has no reason codes
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

func TestPublish_OverTheReceiveMaximum(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ReceiveMaximum = 5 })
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

func TestPublish_ToOtherTopics(t *testing.T) {
	b := newTestBroker(t, nil)
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
		"a NUL": func(c *client) {
			c.publish(1, 1, "sensors/g1\x00/s/data",
				"x")
		},
		"a topic that is not UTF-8": func(c *client) {
			c.publish(1, 1, "sensors/g1\xff/s/data",
				"x")
		},
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

func TestPublish_WithRetainIsNotRetained(t *testing.T) {
	b := newTestBroker(t, nil)
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
	testutil.Eventually(t, testutil.Timeout, "the will came",
		func() bool {
			return strings.Contains(b.submittedStatuses(),
				`g2 by g2 {"status":"offline","why":"will"}`)
		}, b.submittedStatuses)
	if n := len(b.server.Topics.Retained.GetAll()); n != 0 {
		for topic := range b.server.Topics.Retained.GetAll() {
			if !strings.HasPrefix(topic, "$SYS") {
				t.Errorf("retained: %s", topic)
			}
		}
	}
}

func TestPublish_OverTheMaximumPacketSize(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.MaxPacket = 2000 })
	c := b.client("g1")
	c.publish(1, 1, topic, strings.Repeat("x", 1500))
	if m := b.next(1)[0]; len(m.Payload) != 1500 {
		t.Errorf("payload: got %d bytes", len(m.Payload))
	}
	c.publish(1, 2, topic, strings.Repeat("x", 3000))
	c.reads("DISCONNECT 0x95", "closed")
	m := b.next(1)[0]
	if m.Rejection != ingest.ReasonTooLarge || m.Topic != topic || len(m.Payload) != 3000 ||
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
	if m := b.next(1)[0]; m.Rejection != ingest.ReasonTooLarge || m.Topic != topic ||
		len(m.Payload) > maxRecorded {
		t.Errorf("submitted for the record: %s on %s, %d bytes", m.Rejection, m.Topic,
			len(m.Payload))
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
