package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
)

// plainClient is a WebSocket client written from the contract alone, with its generated types.
type plainClient struct {
	t        *testing.T
	addr     string
	ws       *websocket.Conn
	position *client.WsPosition // of the last message that had one
	log      []int64            // offsets of the alarm events it got
	waiting  []any
}

func (c *plainClient) connect(token string) {
	c.t.Helper()
	ws, _, err := websocket.DefaultDialer.DialContext(c.t.Context(), "ws://"+c.addr+"/ws", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { ws.Close() })
	c.ws, c.waiting = ws, nil
	c.send(client.WsAuth{Type: client.WsAuthTypeAuth, Token: token})
	await[client.WsAuthenticated](c)
}

func (c *plainClient) send(message any) {
	c.t.Helper()
	if err := c.ws.WriteJSON(message); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next message as a type of the contract, and records the position in the alarm
// log.
func (c *plainClient) next() any {
	c.t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	var m client.WsServerMessage
	if err := c.ws.ReadJSON(&m); err != nil {
		c.t.Fatalf("the connection ended: %v", err)
	}
	v, err := m.ValueByDiscriminator()
	if err != nil {
		raw, _ := m.MarshalJSON()
		c.t.Fatalf("%s: %v", raw, err)
	}
	switch v := v.(type) {
	case client.WsSubscribed:
		if v.Offset != nil {
			c.position = &client.WsPosition{Epoch: *v.Epoch, Offset: *v.Offset}
		}
	case client.WsAlarmSnapshot:
		c.position = &client.WsPosition{Epoch: v.Epoch, Offset: v.Offset}
	case client.WsAlarm:
		if c.position == nil || v.Epoch != c.position.Epoch || v.Offset != c.position.Offset+1 {
			c.t.Fatalf("an event at %d in %s follows %+v", v.Offset, v.Epoch, c.position)
		}
		c.position.Offset = v.Offset
		c.log = append(c.log, v.Offset)
	}
	return v
}

// await returns the next message of type T; messages of other types are kept for later calls.
func await[T any](c *plainClient) T {
	c.t.Helper()
	for i := 0; ; i++ {
		if i == len(c.waiting) {
			c.waiting = append(c.waiting, c.next())
		}
		if v, ok := c.waiting[i].(T); ok {
			c.waiting = slices.Delete(c.waiting, i, i+1)
			return v
		}
	}
}

// TestContract_SufficesForAWebSocketClient follows readings, a gateway and an alarm over two
// connections.
func TestContract_SufficesForAWebSocketClient(t *testing.T) {
	t.Parallel()
	p := serve(t, dataDir(t))
	api, token := p.login(), p.token()
	d := p.register(api, "press")
	rule := client.AlarmRule{
		Name:     "Bearing hot",
		Kind:     client.AlarmKindThreshold,
		Severity: client.SeverityMajor,
		Limits:   &client.AlarmLimits{High: &client.AlarmLimit{Value: 80}},
	}
	alarm, err := api.CreateAlarmWithResponse(t.Context(),
		client.AlarmCreate{SensorID: d.sensorID, Rule: rule})
	if err != nil || alarm.JSON201 == nil {
		t.Fatalf("create alarm: %v %s", err, alarm.Body)
	}
	write := func(values ...float64) {
		t.Helper()
		var readings []client.ReadingCreate
		for _, v := range values {
			data, _ := json.Marshal(map[string]any{
				"sensor_id": d.sensorID, "value": v, "timestamp": time.Now().UTC(),
			})
			var r client.ReadingCreate
			_ = json.Unmarshal(data, &r) // of our own making
			readings = append(readings, r)
			time.Sleep(time.Millisecond) // an instant of its own
		}
		if res, err := api.WriteReadingsWithResponse(t.Context(), &client.WriteReadingsParams{},
			client.ReadingsWriteRequest{Readings: readings}); err != nil || res.JSON200 == nil {
			t.Fatalf("write: %v %s", err, res.Body)
		}
	}
	write(20)

	c := &plainClient{t: t, addr: p.api}
	c.connect(token)
	sensor, gateway := fmt.Sprintf("sensors/%d", d.sensorID), fmt.Sprintf("gateways/%d",
		d.gatewayID)
	c.send(client.WsSubscribe{
		Type:     client.WsSubscribeTypeSubscribe,
		Topics:   []string{sensor, gateway, "alarms", "sensors/1000"},
		Snapshot: new(true),
	})
	if got := await[client.WsSubscribed](c).Topics; !slices.Equal(got,
		[]string{sensor, gateway, "alarms"}) {
		t.Errorf("subscribed to %v", got)
	}
	if got := await[client.WsAlarmSnapshot](c); len(got.Alarms) != 0 || got.More {
		t.Errorf("got %+v, want no alarm", got)
	}
	if got := await[client.WsSnapshot](c); len(got.Items) != 1 ||
		got.Items[0].Data.Value.MustGet() != 20 || got.More {
		t.Errorf("got %+v, want the newest reading", got)
	}
	if got := await[client.WsError](c); got.Code != client.WsErrorCodeUnknownTopic ||
		!slices.Equal(got.Topics, []string{"sensors/1000"}) {
		t.Errorf("got %+v, want the unknown topic", got)
	}

	write(81.5)
	if got := await[client.WsSensorData](c); got.SensorID != d.sensorID ||
		got.Data.Value.MustGet() != 81.5 || got.Data.Quality != client.QualityGood {
		t.Errorf("got %+v, want 81.5", got)
	}
	if got := await[client.WsAlarm](c).Event; got.Kind != "raised" ||
		got.AlarmID != alarm.JSON201.ID || got.After != client.AlarmStateActiveUnacknowledged ||
		got.Severity != client.SeverityMajor || got.Value.MustGet() != 81.5 {
		t.Errorf("got %+v, want the alarm raised", got)
	}
	if _, err := d.connect(t.Context(), p.mqtt, func() {}); err != nil {
		t.Fatal(err)
	}
	if got := await[client.WsGatewayStatus](c); got.GatewayID != d.gatewayID ||
		got.Status != client.GatewayStatusOnline {
		t.Errorf("got %+v, want the gateway online", got)
	}

	c.ws.NetConn().Close() // without a word
	write(20, 90, 20)
	c.connect(token)
	c.send(client.WsSubscribe{
		Type:   client.WsSubscribeTypeSubscribe,
		Topics: []string{"alarms", sensor},
		Resume: c.position,
		Batch:  new(true),
	})
	for len(c.log) < 4 { // it went, came again, and went
		await[client.WsAlarm](c)
	}
	write(21)
	if got := await[client.WsSensorDataBatch](c); len(got.Items) != 1 ||
		got.Items[0].Data.Value.MustGet() != 21 {
		t.Errorf("got %+v, want one reading", got)
	}
	c.send(client.WsUnsubscribe{
		Type:   client.WsUnsubscribeTypeUnsubscribe,
		Topics: []string{"alarms"},
	})
	await[client.WsUnsubscribed](c)

	c.position.Epoch = "another"
	c.send(client.WsSubscribe{
		Type:   client.WsSubscribeTypeSubscribe,
		Topics: []string{"alarms"},
		Resume: c.position,
	})
	if got := await[client.WsResync](c); got.Scope != client.WsResyncScopeAlarms {
		t.Errorf("got %+v, want the scope alarms", got)
	}
	if got := await[client.WsAlarmSnapshot](c).Alarms; len(got) != 1 ||
		got[0].AlarmID != alarm.JSON201.ID ||
		got[0].After != client.AlarmStateReturnedUnacknowledged {
		t.Errorf("got %+v, want the unacknowledged alarm", got)
	}
}
