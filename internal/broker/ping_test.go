package broker

import (
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
)

func TestPing_IsAnsweredWhileTheClientIsNotRead(t *testing.T) {
	b := newTestBroker(t, nil)
	full := make(chan struct{})
	fill := func() { b.set(func() { b.full = full }) }
	early := b.client("g1")
	early.pings()
	fill()
	late := b.client("g2") // whose being online waits as well
	early.publish(1, 1, topic, "x")
	for _, c := range []*client{early, late} {
		c.reads("PINGRESP", "PINGRESP", "PINGRESP")
	}
	b.set(func() { b.full = nil })
	close(full)
	b.next(1)[0].Done(ingest.Receipt{})
	for early.read() != "PUBACK 1 0x00" { // one more may come before it
	}
	time.Sleep(2 * pingInterval) // and one after it
	for _, c := range []*client{early, late} {
		_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = c.conn.Read(make([]byte, 64))
		time.Sleep(2 * pingInterval)
		c.pings()
		_ = c.conn.SetReadDeadline(time.Now().Add(2 * pingInterval))
		if n, err := c.conn.Read(make([]byte, 64)); n > 0 || err == nil {
			t.Error("one that is read from is answered unasked as well")
		}
	}
}
