package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

func TestPanic_EndsOneConnection(t *testing.T) {
	b := newTestBroker(t, nil)
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
	testutil.Eventually(t, testutil.Timeout, "the will came",
		func() bool { return bombs.Load() == 2 })
	b.client("g1", func(c *packets.Connect) { // in a will that comes later
		will(topic, "bomb")(c)
		c.WillProperties.WillDelayInterval = ptr(uint32(1))
		c.Properties.SessionExpiryInterval = ptr(uint32(100))
	}).close()
	bystander.publish(1, 1, "sensors/g2/s/data", "x")
	b.next(1)[0].Done(ingest.Receipt{})
	bystander.reads("PUBACK 1 0x00")
	testutil.Eventually(t, testutil.Timeout, "the delayed will came",
		func() bool { return bombs.Load() == 3 })
	bystander.pings()
}

func TestStop(t *testing.T) {
	t.Run("a pipeline that takes nothing acknowledges nothing", func(t *testing.T) {
		b := newTestBroker(t, nil)
		b.set(func() {
			b.submit = func(context.Context, ingest.Message) error { return ingest.ErrStopped }
		})
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
	t.Run("it stops while a publisher waits, a client does not read, and one has not logged in",
		func(t *testing.T) {
			b := newTestBroker(t, nil)
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

func TestPaho_Publishes(t *testing.T) {
	b := newTestBroker(t, nil)
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

func TestConfig_NamesEveryInvalidSetting(t *testing.T) {
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
