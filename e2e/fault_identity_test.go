package e2e

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/gen/client"
)

type onPublish = func(paho.PublishReceived) (bool, error)

// victim is a gateway that others attack.
type victim struct {
	device
	p         *process
	c         *paho.Client
	published int
	received  atomic.Int32 // messages it received
	lost      atomic.Bool  // its connection
}

func (p *process) newVictim(d device) *victim {
	p.t.Helper()
	v := &victim{device: d, p: p}
	lose := func() { v.lost.Store(true) }
	connect := d.connectPacket()
	connect.WillMessage = &paho.WillMessage{
		Topic:   "gateways/" + d.key + "/status",
		QoS:     1,
		Payload: []byte(`{"status":"offline"}`),
	}
	c, err := dial(p.t.Context(), p.mqtt, connect, paho.ClientConfig{
		OnClientError:      func(error) { lose() },
		OnServerDisconnect: func(*paho.Disconnect) { lose() },
		OnPublishReceived: []onPublish{func(paho.PublishReceived) (bool, error) {
			v.received.Add(1)
			return true, nil
		}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	v.c = c
	if _, err := c.Subscribe(p.t.Context(),
		&paho.Subscribe{
			Subscriptions: []paho.SubscribeOptions{
				{Topic: "gateways/" + d.key + "/commands", QoS: 1},
			},
		}); err != nil {
		p.t.Fatal(err)
	}
	return v
}

// checkUnharmed publishes a reading, and wants the database to have what the gateway published and
// nothing else.
func (v *victim) checkUnharmed(t *testing.T) {
	t.Helper()
	v.published++
	res, err := v.c.Publish(t.Context(),
		&paho.Publish{
			Topic:   v.topic(),
			QoS:     1,
			Payload: fmt.Appendf(nil, `{"value":%d}`, v.published),
		})
	if err != nil || res.ReasonCode != 0 {
		t.Fatalf("its next reading: got %+v, %v", res, err)
	}
	const q = `
		SELECT count(*) || ' ' || coalesce(max(value), 0) || ' ' ||
			(SELECT count(DISTINCT sensor_id) FROM sensor_data)
		FROM sensor_data WHERE sensor_id = $1`
	if got, want := query[string](t, v.p.dsn(), q, v.sensorID), fmt.Sprintf("%d %[1]d 1",
		v.published); got != want {
		t.Errorf("readings, newest value and sensors that have any: got %s, want %s", got, want)
	}
	if got := query[string](t, v.p.dsn(), `SELECT status FROM gateways WHERE id = $1`,
		v.gatewayID); got != "online" {
		t.Errorf("its status: got %s, want online", got)
	}
	if v.lost.Load() {
		t.Error("it lost its connection")
	}
	if n := v.received.Load(); n > 0 {
		t.Errorf("it received %d messages, want 0", n)
	}
}

// intruder is a connection that sends what a correct client would not.
type intruder struct {
	t    *testing.T
	conn net.Conn
}

// intrude opens a connection and sends connect. It returns the reason code of the answer.
func (p *process) intrude(t *testing.T, connect *packets.Connect) (*intruder, byte) {
	t.Helper()
	conn, err := net.Dial("tcp", p.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	in := &intruder{t, conn}
	connect.ProtocolName, connect.ProtocolVersion = "MQTT", 5
	connect.CleanStart, connect.KeepAlive = true, 30
	connect.UsernameFlag, connect.PasswordFlag = true, true
	in.send(packets.CONNECT, connect)
	ack, ok := in.receive().(*packets.Connack)
	if !ok {
		t.Fatal("no CONNACK")
	}
	return in, ack.ReasonCode
}

func (in *intruder) send(kind byte, content packets.Packet) {
	in.t.Helper()
	cp := packets.NewControlPacket(kind)
	cp.Content = content
	if _, err := cp.WriteTo(in.conn); err != nil {
		in.t.Fatal(err)
	}
}

// receive returns the next packet; nil when the connection is closed instead.
func (in *intruder) receive() packets.Packet {
	in.t.Helper()
	if err := in.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		in.t.Fatal(err)
	}
	cp, err := packets.ReadPacket(in.conn)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		in.t.Fatal("no answer within 10 s")
	}
	if err != nil {
		return nil
	}
	return cp.Content
}

// wantRefused wants the answer to be an error, or the end of the connection.
func (in *intruder) wantRefused(what string) {
	in.t.Helper()
	switch answer := in.receive().(type) {
	case nil, *packets.Disconnect:
	case *packets.Puback:
		if answer.ReasonCode < 0x80 {
			in.t.Errorf("%s: got PUBACK %#02x", what, answer.ReasonCode)
		}
	case *packets.Suback:
		if answer.Reasons[0] < 0x80 {
			in.t.Errorf("%s: got SUBACK %#02x", what, answer.Reasons[0])
		}
	default:
		in.t.Errorf("%s: got %T", what, answer)
	}
}

func TestFaultForgedIdentity_HarmsNoOtherGateway(t *testing.T) {
	t.Parallel()
	p := serve(t, dataDir(t))
	api := p.login()
	a, b := p.register(api, "a"), p.register(api, "b")
	v := p.newVictim(a)
	v.checkUnharmed(t)
	asB := func(change func(*packets.Connect)) *packets.Connect {
		connect := &packets.Connect{ClientID: "b", Username: "b", Password: []byte(b.secret)}
		change(connect)
		return connect
	}
	itself := func(*packets.Connect) {}
	enter := func(t *testing.T) *intruder {
		t.Helper()
		in, code := p.intrude(t, asB(itself))
		if code != 0 {
			t.Fatalf("b itself: got CONNACK %#02x", code)
		}
		return in
	}

	t.Run("topic", func(t *testing.T) {
		in := enter(t)
		reading := []byte(`{"value":999}`)
		of := fmt.Appendf(nil, `[{"sensor":%d,"value":999}]`, a.sensorID)
		for topic, payload := range map[string][]byte{
			"sensors/a/t1/data":                            reading,
			fmt.Sprintf("sensors/%d/t1/data", a.gatewayID): reading,
			fmt.Sprintf("sensors/b/%d/data", a.sensorID):   reading,
			"gateways/a/data":                              of,
			"gateways/b/data":                              of,
			"gateways/a/status":                            []byte(`{"status":"offline"}`),
			fmt.Sprintf("gateways/%d/status", a.gatewayID): []byte(`{"status":"offline"}`),
			"gateways/a/commands":                          []byte(`{"do":"stop"}`),
			"$share/oei-ms/sensors/a/t1/data":              reading,
			"$SYS/broker/uptime":                           reading,
			"/sensors/a/t1/data":                           reading,
			"sensors/b/../a/t1/data":                       reading,
		} {
			in.send(packets.PUBLISH,
				&packets.Publish{
					Topic:      topic,
					QoS:        1,
					PacketID:   1,
					Payload:    payload,
					Properties: &packets.Properties{},
				})
			in.wantRefused(topic)
			in.send(packets.PUBLISH,
				&packets.Publish{Topic: topic, Payload: payload, Properties: &packets.Properties{}})
		}
		v.checkUnharmed(t)
	})
	t.Run("client id", func(t *testing.T) {
		for name, connect := range map[string]*packets.Connect{
			"its id":          asB(func(c *packets.Connect) { c.ClientID = "a" }),
			"its id and more": asB(func(c *packets.Connect) { c.ClientID = "a:1" }),
			"its name":        asB(func(c *packets.Connect) { c.Username = "a" }),
			"both": asB(
				func(c *packets.Connect) { c.ClientID, c.Username = "a", "a" },
			),
			"both and no password": asB(
				func(c *packets.Connect) { c.ClientID, c.Username, c.Password = "a", "a", nil },
			),
			"no id": asB(func(c *packets.Connect) { c.ClientID = "" }),
		} {
			if _, code := p.intrude(t, connect); code < 0x80 {
				t.Errorf("%s: got CONNACK %#02x", name, code)
			}
		}
		v.checkUnharmed(t)
	})
	t.Run("will", func(t *testing.T) {
		for topic, payload := range map[string]string{
			"gateways/a/status": `{"status":"offline"}`, "sensors/a/t1/data": `{"value":999}`,
			"gateways/a/commands": `{"do":"stop"}`,
		} {
			in, _ := p.intrude(t, asB(func(c *packets.Connect) {
				c.WillFlag, c.WillTopic, c.WillMessage = true, topic, []byte(payload)
				c.WillQOS, c.WillProperties = 1, &packets.Properties{}
			}))
			_ = in.conn.Close() // without DISCONNECT, so that the will is sent
		}
		p.eventually(5*time.Second, "b is offline", func() bool {
			return query[string](t, p.dsn(), `SELECT status FROM gateways WHERE id = $1`,
				b.gatewayID) == "offline"
		})
		v.checkUnharmed(t)
	})
	t.Run("retained", func(t *testing.T) {
		for _, topic := range []string{"gateways/a/commands", "sensors/a/t1/data"} {
			in := enter(t)
			in.send(packets.PUBLISH,
				&packets.Publish{
					Topic:      topic,
					QoS:        1,
					PacketID:   1,
					Retain:     true,
					Payload:    []byte(`{"value":999}`),
					Properties: &packets.Properties{},
				})
			in.wantRefused(topic)
		}
		// takes over, and subscribes again
		again := p.newVictim(device{
			key:       "a",
			secret:    a.secret,
			gatewayID: a.gatewayID,
			sensorID:  a.sensorID,
		})
		again.published = v.published
		v = again
		v.checkUnharmed(t)
	})
	t.Run("alias", func(t *testing.T) {
		in := enter(t)
		alias := uint16(1)
		in.send(packets.PUBLISH,
			&packets.Publish{
				QoS:        1,
				PacketID:   1,
				Payload:    []byte(`{"value":999}`),
				Properties: &packets.Properties{TopicAlias: &alias},
			})
		in.wantRefused("an alias that is a's at most")
		in = enter(t)
		in.send(packets.PUBLISH,
			&packets.Publish{
				Topic:      "sensors/a/t1/data",
				QoS:        1,
				PacketID:   1,
				Payload:    []byte(`{"value":999}`),
				Properties: &packets.Properties{TopicAlias: &alias},
			})
		in.wantRefused("a new alias")
		v.checkUnharmed(t)
	})
	t.Run("subscriptions", func(t *testing.T) {
		for _, filter := range []string{
			"#", "+/#", "sensors/#", "gateways/+/commands", "sensors/a/t1/data",
			"gateways/a/commands", "gateways/a/commands/x", "gateways/a/status",
			"$share/x/#", "$share/oei-ms/sensors/+/+/data", "$share/x/gateways/a/commands",
			"$SYS/#", "$SYS/broker/clients/connected",
		} {
			in := enter(t)
			in.send(packets.SUBSCRIBE,
				&packets.Subscribe{
					PacketID:      1,
					Properties:    &packets.Properties{},
					Subscriptions: []packets.SubOptions{{Topic: filter, QoS: 1}},
				})
			in.wantRefused(filter)
			v.checkUnharmed(t) // publishes
			if _, err := (&packets.ControlPacket{
				FixedHeader: packets.FixedHeader{Type: packets.PINGREQ},
				Content:     &packets.Pingreq{},
			}).WriteTo(in.conn); err != nil {
				continue // it was cut off
			}
			if got, overheard := in.receive().(*packets.Publish); overheard {
				t.Errorf("%s: it hears %s", filter, got.Topic)
			}
		}
	})
	t.Run("after its key was given to another", func(t *testing.T) {
		c := p.register(api, "c")
		connect := func() *packets.Connect {
			return &packets.Connect{ClientID: "c", Username: "c", Password: []byte(c.secret)}
		}
		former, code := p.intrude(t, connect())
		listening, code2 := p.intrude(t,
			&packets.Connect{ClientID: "c:2", Username: "c", Password: []byte(c.secret)})
		if code != 0 || code2 != 0 {
			t.Fatalf("c itself: got CONNACK %#02x, %#02x", code, code2)
		}
		res, err := api.UpdateGatewayWithResponse(t.Context(), c.gatewayID, nil,
			client.GatewayUpdate{Key: new("c-old")})
		if err != nil || res.StatusCode() != 200 {
			t.Fatalf("rename c: %v %s", err, res.Body)
		}
		heir := p.register(api, "c")
		former.send(packets.PUBLISH, &packets.Publish{
			Topic:      "sensors/c/t1/data",
			QoS:        1,
			PacketID:   1,
			Payload:    []byte(`{"value":999}`),
			Properties: &packets.Properties{},
		})
		former.wantRefused("a reading under the key that it had")
		listening.send(packets.SUBSCRIBE, &packets.Subscribe{
			PacketID:      1,
			Properties:    &packets.Properties{},
			Subscriptions: []packets.SubOptions{{Topic: "gateways/c/commands", QoS: 1}},
		})
		listening.wantRefused("the commands under the key that it had")
		const readings = `SELECT count(*) FROM sensor_data WHERE sensor_id = $1`
		if n := query[int](t, p.dsn(), readings, heir.sensorID); n != 0 {
			t.Errorf("%d readings of the other are its", n)
		}
		if _, code := p.intrude(t, connect()); code != 0x86 {
			t.Errorf("it is let in again under that key: CONNACK %#02x", code)
		}
	})
	t.Run("after it was disabled", func(t *testing.T) {
		in := enter(t)
		inactive := false
		res, err := api.UpdateGatewayWithResponse(t.Context(), b.gatewayID, nil,
			client.GatewayUpdate{IsActive: &inactive})
		if err != nil || res.StatusCode() != 200 {
			t.Fatalf("disable b: %v %s", err, res.Body)
		}
		began := time.Now()
		for in.receive() != nil { // until it is disconnected
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it was let go on for %v, want 5 s", took)
		}
		if _, code := p.intrude(t, asB(itself)); code < 0x80 {
			t.Errorf("it is let in again: CONNACK %#02x", code)
		}
		v.checkUnharmed(t)
	})
}
