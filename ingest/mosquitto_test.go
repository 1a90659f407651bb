package ingest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
)

// documented returns the block of docs/operations/mosquitto.md that begins with a comment that
// names it.
func documented(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/operations/mosquitto.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```conf\n# "+name+"\n")
	block, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("mosquitto.md has no %s", name)
	}
	return block
}

// member is a client of a broker that knows its users.
type member struct {
	*paho.Client
	t    *testing.T
	conn net.Conn
	got  chan string // topic and payload
}

func join(t *testing.T, b *mosquitto.Broker, user, id string, will *paho.WillMessage) *member {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, conn: conn, got: make(chan string, 100)}
	m.Client = paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			m.got <- p.Packet.Topic + " " + string(p.Packet.Payload)
			return true, nil
		}},
	})
	if _, err := m.Connect(t.Context(), &paho.Connect{
		ClientID:     id,
		Username:     user,
		UsernameFlag: true,
		Password:     []byte(user),
		PasswordFlag: true,
		CleanStart:   true, KeepAlive: 30, WillMessage: will,
	}); err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(func() { _ = conn.Close(); <-m.Done() })
	return m
}

// publish returns the reason code.
func (m *member) publish(topic, payload string, p *paho.PublishProperties) byte {
	m.t.Helper()
	res, err := m.Publish(m.t.Context(),
		&paho.Publish{QoS: 1, Topic: topic, Payload: []byte(payload), Properties: p})
	if res == nil {
		m.t.Fatalf("publish: %v", err)
	}
	return res.ReasonCode
}

func (m *member) subscribe(filters ...string) {
	m.t.Helper()
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1})
	}
	if _, err := m.Subscribe(m.t.Context(), s); err != nil {
		m.t.Fatalf("subscribe: %v", err)
	}
}

// TestMosquittoAsDocumented runs a source against a mosquitto that is configured as
// docs/operations/mosquitto.md says.
func TestMosquittoAsDocumented(t *testing.T) {
	b := mosquitto.StartAs(t, documented(t, "mosquitto.conf"), documented(t, "acl"), "oei-ms", "g1",
		"g2", "g3")
	cfg := sourceConfig(b, "any")
	cfg.Username, cfg.Password, cfg.ShareGroup = "oei-ms", "oei-ms", "oei-ms-9b1d5c7e"
	messages := make(chan ingest.Message, 10_000)
	take := func(ctx context.Context, m ingest.Message) error {
		select {
		case messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.Done(ingest.Receipt{Accepted: 1})
		return nil
	}
	in := receive(t, cfg, take)
	in.messages = messages
	got := func(n int) string {
		t.Helper()
		var lines []string
		for _, m := range in.next(n) {
			lines = append(lines, m.Topic+" "+string(m.Payload))
		}
		return strings.Join(lines, ", ")
	}
	g1 := join(t, b, "g1", "g1", nil)
	for i, topic := range []string{
		t1, "gateways/g1/data", "gateways/g1/status", "gateways/g1/receipts/x",
		"gateways/g1/commands/x", "x",
	} {
		// whose client id is not the one that ends g1's connection; mosquitto 2.0.11 hangs up after
		// a refusal
		forger := join(t, b, "g2", "g1", nil)
		if code := forger.publish(topic, "forged", nil); code != 0x87 {
			t.Errorf("g2 published to %s: got %#02x, want 0x87", topic, code)
		}
		if mine := fmt.Sprint(i); ingest.ParseTopic(topic).Kind != ingest.None {
			if code := g1.publish(topic, mine, nil); code != 0 {
				t.Errorf("g1 published to %s: got %#02x", topic, code)
			}
			if line := got(1); line != topic+" "+mine {
				t.Errorf("got %s, want only what g1 said", line)
			}
		}
	}

	for _, topic := range []string{"gateways/g1/status", "gateways/g3/status"} {
		g3 := join(t, b, "g3", "g3",
			&paho.WillMessage{Topic: topic, Payload: []byte("gone"), QoS: 1})
		_ = g3.conn.Close()
	}
	if line := got(1); line != "gateways/g3/status gone" {
		t.Errorf("wills: got %s, want only that of its own gateway", line)
	}

	g2 := join(t, b, "g2", "g2", nil)
	g2.subscribe("#", "sensors/#", "gateways/g1/#", "$share/oei-ms/sensors/+/+/data")
	const n = 20
	for i := range n {
		g1.publish(t1, fmt.Sprint(i),
			&paho.PublishProperties{
				ResponseTopic:   "gateways/g1/receipts/r",
				CorrelationData: []byte("c"),
			})
	}
	if lines := got(n); strings.Count(lines, t1) != n {
		t.Errorf("with a thief: got %s", lines)
	}
	g2.publish("sensors/g2/u1/data", "1",
		&paho.PublishProperties{
			ResponseTopic:   "gateways/g2/receipts/r",
			CorrelationData: []byte("c"),
		})
	select {
	case line := <-g2.got:
		if !strings.HasPrefix(line, "gateways/g2/receipts/r {") {
			t.Errorf("g2 was sent %s, want its own receipt alone", line)
		}
	case <-time.After(limit):
		t.Error("g2 was sent no receipt")
	}
	got(1)

	in.stop()
	const backlog = 1200 // more than a mosquitto keeps that is not told to
	for i := range backlog {
		g1.publish(t1, fmt.Sprint(i), nil)
	}
	b.Stop()
	b.Run()
	in = receive(t, cfg, take)
	in.messages = messages
	if lines := payloads(in.next(backlog)); lines != numbers(0, backlog) {
		t.Errorf("after it was away and the broker was restarted: got %s", lines)
	}
}
