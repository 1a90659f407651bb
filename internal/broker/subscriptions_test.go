package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

func TestSubscribe_ReasonCodes(t *testing.T) {
	b := newTestBroker(t, nil)
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

func TestSubscribe_OverTheLimit(t *testing.T) {
	b := newTestBroker(t, nil)
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
