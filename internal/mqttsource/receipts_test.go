package mqttsource_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/internal/mosquitto"
)

func TestReceipts_AreSentThroughTheBroker(t *testing.T) {
	m := mosquitto.Start(t)
	pipeline, _ := newPipeline(t)
	receive(t, sourceConfig(m, "one"), pipeline.Submit)
	conn, err := net.Dial("tcp", m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *paho.Publish, 10)
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
		},
	})
	if _, err := c.Connect(t.Context(),
		&paho.Connect{ClientID: "g1", CleanStart: true, KeepAlive: 30}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}); <-c.Done() })
	if _, err := c.Subscribe(t.Context(), &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: "gateways/#", QoS: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	publish := func(responseTopic, correlation string, expiry uint32) {
		t.Helper()
		payload := fmt.Appendf(nil, `[{"value":1,"timestamp":"%s"},{"value":"x"}]`,
			time.Now().Format(time.RFC3339))
		if _, err := c.Publish(t.Context(), &paho.Publish{
			QoS:     1,
			Topic:   topic,
			Payload: payload,
			Properties: &paho.PublishProperties{
				ResponseTopic:   responseTopic,
				CorrelationData: []byte(correlation),
				ContentType:     "application/json",
				MessageExpiry:   &expiry,
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	publish("gateways/g2/receipts", "a", 60) // another gateway's: not answered
	publish("gateways/g1/receipts/x", "b", 60)
	const rejected = `"rejected":[{"index":1,"reason":"invalid_value"}],"rejected_total":1,` +
		`"server_time":"`
	select {
	case p := <-got:
		want := `{"accepted":1,"duplicates":0,` + rejected
		orDuplicate := `{"accepted":0,"duplicates":1,` + rejected // in the same second
		if s := string(p.Payload); p.Topic != "gateways/g1/receipts/x" ||
			string(p.Properties.CorrelationData) != "b" || p.QoS != 1 ||
			p.Properties.PayloadFormat == nil || *p.Properties.PayloadFormat != 1 ||
			!strings.HasPrefix(s, want) && !strings.HasPrefix(s, orDuplicate) {
			t.Errorf("got %v", p)
		}
	case <-time.After(limit):
		t.Fatal("no receipt")
	}
}
