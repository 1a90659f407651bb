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

// ask publishes with a response topic.
func (c *client) ask(qos byte, id uint16, responseTopic, correlation string) {
	c.t.Helper()
	c.send2(&packets.Publish{
		QoS: qos, PacketID: id, Topic: topic, Payload: []byte("x"),
		Properties: &packets.Properties{
			ResponseTopic: responseTopic, CorrelationData: []byte(correlation),
		},
	})
}

// listen subscribes with a QoS, and a subscription identifier unless it is 0.
func (c *client) listen(filter string, qos byte, identifier int) {
	c.t.Helper()
	cp := packets.NewControlPacket(packets.SUBSCRIBE)
	sub := cp.Content.(*packets.Subscribe)
	sub.PacketID, sub.Subscriptions = 1, []packets.SubOptions{{Topic: filter, QoS: qos}}
	if identifier > 0 {
		sub.Properties.SubscriptionIdentifier = &identifier
	}
	if _, err := cp.WriteTo(c.conn); err != nil {
		c.t.Fatal(err)
	}
	c.reads(fmt.Sprintf("SUBACK 1 %#02x", min(qos, 1)))
}

// receipt reads a receipt.
func (c *client) receipt() *packets.Publish {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	pk, err := packets.ReadPacket(c.conn)
	if err != nil {
		c.t.Fatal(err)
	}
	p, ok := pk.Content.(*packets.Publish)
	if !ok {
		c.t.Fatalf("got %s, want a receipt", pk.PacketType())
	}
	return p
}

func (c *client) confirm(id uint16) {
	c.send(packets.PUBACK, &packets.Puback{PacketID: id, Properties: &packets.Properties{}})
}

// noReceipt waits until the counter of receipts not sent for this reason is want.
func (b *testBroker) noReceipt(reason string, want int) {
	b.t.Helper()
	testutil.Eventually(b.t, testutil.Timeout, fmt.Sprintf("%d are not answered: %s", want, reason),
		func() bool { return b.counted("oei_mqtt_no_receipt_total", reason) == want })
}

// counted returns the value of a counter, of the one with this label value if it has labels.
func (b *testBroker) counted(name, label string) int {
	b.t.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func TestReceipt_FollowsThePuback(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1")
	c.listen("gateways/g1/receipts/a", 2, 7)
	c.ask(1, 5, "gateways/g1/receipts/a", "\x00\xff")
	m := b.next(1)[0]
	if !m.Itemized {
		t.Error("no items are asked for")
	}
	c.pings() // nothing before the commit
	m.Done(ingest.Receipt{
		Accepted:      1,
		RejectedTotal: 1,
		Rejected:      []ingest.Rejected{{Index: 1, Reason: "conflict"}},
	})
	c.reads("PUBACK 5 0x00")
	p := c.receipt()
	want := `{"accepted":1,"duplicates":0,"rejected":[{"index":1,"reason":"conflict"}],` +
		`"rejected_total":1,"server_time":"2`
	if p.Topic != "gateways/g1/receipts/a" || p.QoS != 1 || p.PacketID == 0 ||
		string(p.Properties.CorrelationData) != "\x00\xff" ||
		p.Properties.ContentType != "application/json" ||
		*p.Properties.SubscriptionIdentifier != 7 ||
		!strings.HasPrefix(string(p.Payload), want) {
		t.Errorf("got %+v\n%+v", p, p.Properties)
	}
	c.confirm(p.PacketID)
	c.pings()
	if n := b.outgoing.Load(); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

func TestAlarms_ReachTheirGatewayOnly(t *testing.T) {
	b := newTestBroker(t, nil)
	c, other := b.client("g1"), b.client("g2")
	c.listen("alarms/g1/s", 1, 7)
	other.listen("alarms/g2/s", 1, 0)
	// the last two have no subscriber, which is not an error
	for _, topic := range []string{"alarms/g1/s", "alarms/g1/t", "alarms/g3/s"} {
		if err := b.Publish(t.Context(), topic, []byte("hot")); err != nil {
			t.Errorf("%s: %v", topic, err)
		}
	}
	p := c.receipt()
	if p.Topic != "alarms/g1/s" || p.QoS != 1 || string(p.Payload) != "hot" ||
		*p.Properties.SubscriptionIdentifier != 7 {
		t.Errorf("got %+v", p)
	}
	c.confirm(p.PacketID)
	c.pings()
	other.pings()
	if n := b.outgoing.Load(); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

func TestReceipt_ForQoS0(t *testing.T) {
	b := newTestBroker(t, nil)
	c, other := b.client("g1"), b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:2" })
	other.listen("gateways/g1/receipts", 0, 0)
	c.ask(0, 0, "gateways/g1/receipts", "")
	c.ask(1, 1, "gateways/g1/receipts", "")
	for _, m := range b.next(2) {
		m.Done(ingest.Receipt{Duplicates: 1})
	}
	c.reads("PUBACK 1 0x00")
	for range 2 {
		if p := other.receipt(); p.QoS != 0 ||
			!strings.HasPrefix(string(p.Payload), `{"accepted":0,"duplicates":1,`) {
			t.Errorf("got %v", p)
		}
	}
	c.pings()
}

func TestReceipt_OutlivesTheConnectionOfItsPublish(t *testing.T) {
	b := newTestBroker(t, nil)
	c, other := b.client("g1"), b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:2" })
	other.listen("gateways/g1/receipts", 0, 0)
	c.ask(0, 0, "gateways/g1/receipts", "")
	m := b.next(1)[0]
	c.conn.Close()
	testutil.Eventually(t, testutil.Timeout, "its connection has ended",
		func() bool { return b.connected() == 1 })
	m.Done(ingest.Receipt{Accepted: 1})
	if p := other.receipt(); !strings.HasPrefix(string(p.Payload), `{"accepted":1,`) {
		t.Errorf("got %v", p)
	}
}

func TestReceipt_WaitsForEarlierAcknowledgements(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1", func(c *packets.Connect) { c.Properties.ReceiveMaximum = ptr(uint16(2)) })
	c.listen("gateways/g1/receipts", 1, 0)
	const n = 20
	for i := range n {
		c.ask(1, uint16(i+1), "gateways/g1/receipts", fmt.Sprint(i))
	}
	for i, m := range b.next(n) {
		m.Done(ingest.Receipt{})
		c.reads(fmt.Sprintf("PUBACK %d 0x00", i+1))
		if i < 2 {
			defer c.confirm(c.receipt().PacketID)
		}
	}
	c.pings()
	c.confirm(1)
	for i := 2; i < n; i++ {
		p := c.receipt()
		if got := string(p.Properties.CorrelationData); got != fmt.Sprint(i) {
			t.Fatalf("got the receipt of %s, want %d", got, i)
		}
		c.confirm(p.PacketID)
	}
	c.pings()
}

func TestReceipt_ReasonsForNone(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ReceiveMaximum = 4 })
	c := b.client("g1")
	other := b.client("g2")
	other.listen("gateways/g2/receipts", 1, 0)
	id := uint16(0)
	try := func(name, responseTopic, correlation, reason string, want int) {
		t.Helper()
		id++
		c.ask(1, id, responseTopic, correlation)
		b.next(1)[0].Done(ingest.Receipt{})
		c.reads(fmt.Sprintf("PUBACK %d 0x00", id)) // it is taken all the same
		b.noReceipt(reason, want)
	}
	try("another gateway's", "gateways/g2/receipts", "", "topic", 1)
	try("without a subscriber", "gateways/g1/receipts", "", "no_listener", 1)
	try("long", "gateways/g1/receipts", strings.Repeat("x", 257), "correlation", 1)
	other.pings()

	small := b.client("g3",
		func(c *packets.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(50)) })
	small.listen("gateways/g3/receipts", 1, 0)
	small.ask(1, 1, "gateways/g3/receipts", "")
	b.next(1)[0].Done(ingest.Receipt{})
	small.reads("PUBACK 1 0x00")
	b.noReceipt("too_large", 1)

	c.listen("gateways/g1/receipts", 1, 0)
	for range 10 { // of QoS 0, without end, while none is done
		c.ask(0, 0, "gateways/g1/receipts", "")
	}
	b.next(10)
	b.noReceipt("full", 2)
	c.close()
	testutil.Eventually(t, testutil.Timeout, "all places are free",
		func() bool { return b.outgoing.Load() == 0 })
}

func TestPublish_PassesOnMessageProperties(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1")
	c.send2(&packets.Publish{
		QoS: 1, PacketID: 1, Topic: topic, Payload: []byte("x"),
		Properties: &packets.Properties{
			MessageExpiry: ptr(uint32(90)), ContentType: "text/csv", PayloadFormat: ptr(byte(1)),
		},
	})
	if m := b.next(1)[0]; m.Expiry != 90*time.Second || m.ContentType != "text/csv" || !m.Text ||
		m.Itemized {
		t.Errorf("submitted: %+v", m)
	}
	c.publish(1, 2, topic, "x")
	if m := b.next(1)[0]; m.Expiry != 0 || m.ContentType != "" || m.Text {
		t.Errorf("submitted: %+v", m)
	}
}
