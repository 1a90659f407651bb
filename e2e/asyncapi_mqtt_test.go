package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/internal/asyncapitest"
)

// TestAsyncAPI_MQTTExamplesAreAnsweredAsWritten publishes every example over MQTT and compares
// PUBACK and receipt with the answer in the document.
func TestAsyncAPI_MQTTExamplesAreAnsweredAsWritten(t *testing.T) {
	t.Parallel()
	d := serveDocumented(t)
	c := d.listen(d.press, "gateways/press-1/receipts", "gateways/press-1/receipts/a")
	received, sent := d.document.Directions(true)
	order := []string{"SensorData", "GatewayData", "StatusReport"}
	if len(received) != len(order) {
		t.Errorf("gateways publish %v, the test %v", received, order)
	}
	for _, message := range order {
		m := d.document.Components.Messages[message]
		if len(m.Examples) == 0 || len(m.Answers) != len(m.Examples) {
			t.Errorf("message %s has %d examples and %d answers", message, len(m.Examples),
				len(m.Answers))
		}
		for _, e := range m.Examples {
			c.play(message, e, m.Answers[e.Name])
		}
	}
	d.playAlarms(c)
	d.wantAllUsed(sent)
}

// mqttClient is a connection of a gateway with what it received.
type mqttClient struct {
	*documented
	*paho.Client
	received chan *paho.Publish
}

// listen connects a gateway and subscribes to topics.
func (d *documented) listen(as device, topics ...string) *mqttClient {
	d.t.Helper()
	c := &mqttClient{documented: d, received: make(chan *paho.Publish, 100)}
	var err error
	c.Client, err = dial(d.t.Context(), d.mqtt, as.connectPacket(), paho.ClientConfig{
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) {
				c.received <- p.Packet
				return true, nil
			},
		},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	var subscribe paho.Subscribe
	for _, topic := range topics {
		subscribe.Subscriptions = append(subscribe.Subscriptions,
			paho.SubscribeOptions{Topic: topic, QoS: 1})
	}
	if _, err := c.Subscribe(d.t.Context(), &subscribe); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// play publishes an example and compares the answer.
func (c *mqttClient) play(
	message string, e asyncapitest.Example, want asyncapitest.Answer,
) {
	c.t.Helper()
	name := message + "/" + e.Name
	err := c.document.Validate(c.t, message, e.Payload)
	if (err != nil) != want.Invalid {
		c.t.Errorf("%s: validation says %v, the document says invalid: %v", name, err, want.Invalid)
	}
	payload, err := json.Marshal(e.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	if want.Text {
		payload = []byte(e.Payload.(string))
	}
	code, text := c.publishExample(e, want, payload)
	if want.QoS > 0 && (code != want.ReasonCode ||
		want.Reason == "" && text != want.ReasonString ||
		want.Reason != "" && !strings.HasPrefix(text, want.Reason+": ")) {
		c.t.Errorf("%s: got PUBACK %#02x %q, want %#02x %q", name, code, text, want.ReasonCode,
			want.ReasonString+want.Reason)
	}
	if mentioned := fmt.Sprintf("0x%02X", code); want.QoS > 0 &&
		!strings.Contains(e.Summary, mentioned) {
		c.t.Errorf("%s: the summary does not mention %s", name, mentioned)
	}
	if (want.Receipt != "") != (e.Headers.ResponseTopic != "") {
		c.t.Errorf("%s: response topic %q, receipt %q", name, e.Headers.ResponseTopic, want.Receipt)
	}
	if want.Receipt != "" {
		p := c.next()
		difference := c.match("Receipt", want.Receipt, p.Payload, "server_time")
		if difference != "" || p.Topic != e.Headers.ResponseTopic ||
			string(p.Properties.CorrelationData) != e.Headers.CorrelationData {
			c.t.Errorf("%s: got receipt %v, want %s: %s", name, p, want.Receipt, difference)
		}
	}
}

// publishExample publishes an example, and returns the reason code and string of the PUBACK.
func (c *mqttClient) publishExample(
	e asyncapitest.Example, how asyncapitest.Answer, payload []byte,
) (code byte, text string) {
	c.t.Helper()
	properties := &paho.PublishProperties{
		ResponseTopic: e.Headers.ResponseTopic,
		ContentType:   e.Headers.ContentType,
		MessageExpiry: e.Headers.Expiry,
	}
	if e.Headers.CorrelationData != "" {
		properties.CorrelationData = []byte(e.Headers.CorrelationData)
	}
	for key, value := range e.Headers.User {
		properties.User.Add(key, value)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	res, err := c.Publish(ctx, &paho.Publish{
		Topic:      how.Topic,
		QoS:        how.QoS,
		Payload:    payload,
		Properties: properties,
	})
	if res == nil { // an error is returned with a reason code of 0x80 or above, too
		if err != nil {
			c.t.Fatalf("%s: %v", e.Name, err)
		}
		return 0, ""
	}
	if res.Properties != nil {
		text = res.Properties.ReasonString
	}
	return res.ReasonCode, text
}

// next returns the next message that was received, and wants the properties that every message has.
func (c *mqttClient) next() *paho.Publish {
	c.t.Helper()
	select {
	case p := <-c.received:
		if p.Properties.ContentType != "application/json" || p.Properties.PayloadFormat == nil ||
			*p.Properties.PayloadFormat != 1 || p.QoS != 1 || p.Retain {
			c.t.Errorf("got the message %v, want JSON at QoS 1, not retained", p)
		}
		return p
	case <-time.After(20 * time.Second):
		c.t.Fatal("nothing was received")
		return nil
	}
}

// alarmRule is the rule of the examples.
const alarmRule = `{"name":"Bearing hot","message":"Bearing hot","kind":"threshold",
	"severity":"major","limits":{"high":{"value":80}}}`

// playAlarms raises an alarm that is sent over MQTT, and tests its channel.
func (d *documented) playAlarms(gateway *mqttClient) {
	d.t.Helper()
	id := d.post("/api/gateways", `{"key":"test","name":"Test"}`)["id"].(float64)
	test := d.listen(d.credential("test", id), "alarms/test/test")
	if _, err := gateway.Subscribe(d.t.Context(), &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: "alarms/press-1/t1", QoS: 1}},
	}); err != nil {
		d.t.Fatal(err)
	}
	channel := d.post("/api/notifications/channels", `{"name":"MQTT","kind":"mqtt"}`)["id"]
	d.post("/api/notifications/routes", fmt.Sprintf(
		`{"name":"All","channel_id":%v,"severities":["major"],"events":["raised"]}`, channel))
	d.post("/api/alarms", fmt.Sprintf(`{"sensor_id":%v,"rule":%s}`, d.ids["sensor_id 12"],
		alarmRule))
	res, err := gateway.Publish(d.t.Context(), &paho.Publish{
		Topic:   "sensors/press-1/t1/data",
		QoS:     1,
		Payload: []byte(`{"value": 81.5}`),
	})
	if err != nil || res.ReasonCode != 0 {
		d.t.Fatalf("PUBACK: got %v, %v", res, err)
	}
	raised := gateway.next()
	if difference := d.match("AlarmNotification", "raised", raised.Payload, "id", "epoch", "offset",
		"at", "alarm_id"); difference != "" || raised.Topic != "alarms/press-1/t1" {
		d.t.Errorf("got the alarm %v: %s", raised, difference)
	}
	d.post(fmt.Sprintf("/api/notifications/channels/%v/test", channel), "")
	sent := test.next()
	if difference := d.match("AlarmTest", "test", sent.Payload, "id",
		"timestamp"); difference != "" || !bytes.HasPrefix(sent.Payload, []byte("{")) {
		d.t.Errorf("got the test %v: %s", sent, difference)
	}
}
