package mqttsource_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
)

// client is a logged-in client of an external broker.
type client struct {
	*paho.Client
	t        *testing.T
	conn     net.Conn
	received chan string // topic and payload
}

// connect logs in as user, whose password is its name.
func connect(
	t *testing.T, b *mosquitto.Broker, user, id string, will *paho.WillMessage,
) *client {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, received: make(chan string, 100)}
	receive := func(p paho.PublishReceived) (bool, error) {
		c.received <- p.Packet.Topic + " " + string(p.Packet.Payload)
		return true, nil
	}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn:              conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){receive},
	})
	if _, err := c.Connect(t.Context(), &paho.Connect{
		ClientID:     id,
		Username:     user,
		UsernameFlag: true,
		Password:     []byte(user),
		PasswordFlag: true,
		CleanStart:   true,
		KeepAlive:    30,
		WillMessage:  will,
	}); err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(func() { _ = conn.Close(); <-c.Done() })
	return c
}

// publish returns the reason code.
func (c *client) publish(topic, payload string, p *paho.PublishProperties) byte {
	c.t.Helper()
	res, err := c.Publish(c.t.Context(),
		&paho.Publish{QoS: 1, Topic: topic, Payload: []byte(payload), Properties: p})
	if res == nil {
		c.t.Fatalf("publish: %v", err)
	}
	return res.ReasonCode
}

func (c *client) subscribe(filters ...string) {
	c.t.Helper()
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1})
	}
	if _, err := c.Subscribe(c.t.Context(), s); err != nil {
		c.t.Fatalf("subscribe: %v", err)
	}
}

// TestMosquitto_AsDocumented runs a source with a mosquitto that is set up as documented.
func TestMosquitto_AsDocumented(t *testing.T) {
	b := mosquitto.StartAs(t, documented(t, "mosquitto.conf"), documented(t, "acl"), "oei-ms", "g1",
		"g2", "g3")
	cfg := sourceConfig(b, "any")
	cfg.Username, cfg.Password, cfg.ShareGroup = "oei-ms", "oei-ms", "oei-ms-9b1d5c7e"
	messages := make(chan ingest.Message, 10_000)
	submit := func(ctx context.Context, m ingest.Message) error {
		select {
		case messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.Done(ingest.Receipt{Accepted: 1})
		return nil
	}
	in := receive(t, cfg, submit)
	in.messages = messages
	got := func(n int) string {
		t.Helper()
		var lines []string
		for _, m := range in.next(n) {
			lines = append(lines, m.Topic+" "+string(m.Payload))
		}
		return strings.Join(lines, ", ")
	}
	g1 := connect(t, b, "g1", "g1", nil)
	for i, topic := range []string{
		topic, "gateways/g1/data", "gateways/g1/status", "gateways/g1/receipts/x",
		"gateways/g1/commands/x", "x",
	} {
		// mosquitto 2.0.11 closes the connection after it has refused a publish. Although the
		// client ids are equal, g1 keeps its connection: the documented settings keep users apart.
		forger := connect(t, b, "g2", "g1", nil)
		if code := forger.publish(topic, "forged", nil); code != 0x87 {
			t.Errorf("g2 published to %s: got %#02x, want 0x87", topic, code)
		}
		if payload := fmt.Sprint(i); ingest.ParseTopic(topic).Kind != ingest.None {
			if code := g1.publish(topic, payload, nil); code != 0 {
				t.Errorf("g1 published to %s: got %#02x", topic, code)
			}
			if line := got(1); line != topic+" "+payload {
				t.Errorf("got %s, want only what g1 published", line)
			}
		}
	}

	for _, topic := range []string{"gateways/g1/status", "gateways/g3/status"} {
		g3 := connect(t, b, "g3", "g3",
			&paho.WillMessage{Topic: topic, Payload: []byte("gone"), QoS: 1})
		_ = g3.conn.Close()
	}
	if line := got(1); line != "gateways/g3/status gone" {
		t.Errorf("wills: got %s, want only the one for its own gateway", line)
	}

	g2 := connect(t, b, "g2", "g2", nil)
	g2.subscribe("#", "sensors/#", "gateways/g1/#", "$share/oei-ms/sensors/+/+/data")
	const n = 20
	for i := range n {
		g1.publish(topic, fmt.Sprint(i), &paho.PublishProperties{
			ResponseTopic:   "gateways/g1/receipts/r",
			CorrelationData: []byte("c"),
		})
	}
	if lines := got(n); strings.Count(lines, topic) != n {
		t.Errorf("with another shared subscription: got %s", lines)
	}
	g2.publish("sensors/g2/u1/data", "1", &paho.PublishProperties{
		ResponseTopic:   "gateways/g2/receipts/r",
		CorrelationData: []byte("c"),
	})
	select {
	case line := <-g2.received:
		if !strings.HasPrefix(line, "gateways/g2/receipts/r {") {
			t.Errorf("g2 received %s, want only its own receipt", line)
		}
	case <-time.After(limit):
		t.Error("g2 received no receipt")
	}
	got(1)

	in.stop()
	const backlog = 1200 // more than mosquitto queues by default
	for i := range backlog {
		g1.publish(topic, fmt.Sprint(i), nil)
	}
	b.Stop()
	b.Run()
	in = receive(t, cfg, submit)
	in.messages = messages
	if lines := payloads(in.next(backlog)); lines != numbers(0, backlog) {
		t.Errorf("after the source was away and the broker was restarted: got %s", lines)
	}
}
