package broker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

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

func TestSlowClient_DoesNotDelayOthers(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.WriteTimeout = 2 * time.Second })
	slow, c := b.client("g1"), b.client("g2")
	ms := b.unread(slow)
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
		t.Error("the slow client was disconnected too early")
	}
	testutil.Eventually(t, testutil.Timeout, "the client is disconnected",
		func() bool { return b.connected() == 1 })
}

// unread has a client publish so much that it must not leave the answers unread, and returns the
// messages.
func (b *testBroker) unread(c *client) []ingest.Message {
	b.t.Helper()
	_ = c.conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	const n = 300
	for i := range n {
		c.publish(1, uint16(i+1), topic, "x")
	}
	return b.next(n)
}

func TestSlowClient_ThatSendsIsDisconnected(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.WriteTimeout = time.Second })
	slow := b.client("g1")
	for _, m := range b.unread(slow) {
		m.Done(ingest.Receipt{Code: 0x83, Text: strings.Repeat("x", 60_000)})
	}
	loose := bytesOf(packets.PUBLISH, 0,
		&packets.Publish{Topic: topic, Properties: &packets.Properties{}})
	testutil.Eventually(t, testutil.Timeout, "the client is disconnected", func() bool {
		_, _ = slow.conn.Write(loose)
		return b.connected() == 0
	})
}

func TestSlowClient_AWriteDeadlineEndsWithItsWrite(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	c := b.client("g1", func(c *packets.Connect) { c.KeepAlive = 60 })
	c.publish(1, 1, topic, "x")
	b.next(1)[0].Done(ingest.Receipt{})
	c.reads("PUBACK 1 0x00")
	<-time.After(3 * 50 * time.Millisecond) // longer than a write may take
	c.pings()
}
