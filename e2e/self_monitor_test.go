package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/gen/client"
)

func TestSelfMonitor_RaisesForOfflineGatewaysAndRejections(t *testing.T) {
	t.Parallel()
	p := serve(t, dataDir(t), "OEI_MONITOR_INTERVAL=1s", "OEI_MONITOR_OFFLINE_AFTER=1s",
		"OEI_MONITOR_REJECTIONS_PER_MINUTE=5")
	api := p.login()
	d := p.register(api, "press-1")
	live := p.subscribe(api, "alarms")
	own := p.subscribe(api, fmt.Sprintf("gateways/%d", p.systemGateway(api)))
	plant := p.subscribe(api, "sensors?type=rate", "gateways/status",
		fmt.Sprintf("sensors/%d", d.sensorID))
	gateway, err := d.connect(t.Context(), p.mqtt, func() {})
	if err != nil {
		t.Fatal(err)
	}
	refused := func() {
		for i := range 20 {
			_, _ = gateway.Publish(t.Context(),
				&paho.Publish{
					Topic:   d.topic(),
					QoS:     1,
					Payload: fmt.Appendf(nil, `{"Value": %d}`, i),
				})
		}
	}
	refused()
	alarmOf := func(label string) (a client.Alarm) {
		p.eventually(20*time.Second, "there is an alarm of the gateway for "+label, func() bool {
			list, err := api.ListAlarmsWithResponse(t.Context(),
				&client.ListAlarmsParams{
					GatewayID: &d.gatewayID,
					Label:     []string{"system=" + label},
				})
			if err != nil || list.JSON200 == nil {
				t.Fatalf("alarms: %v %s", err, list.Body)
			}
			if len(*list.JSON200) == 1 {
				a = (*list.JSON200)[0]
			}
			return len(*list.JSON200) > 0
		})
		return a
	}
	rejections := alarmOf("rejections")
	atOnce := client.AlarmRuleUpdate{OnDelayMs: new(int64(0))}
	if res, err := api.UpdateAlarmWithResponse(t.Context(), rejections.ID, nil,
		client.AlarmUpdate{Rule: atOnce}); err != nil || res.JSON200 == nil {
		t.Fatalf("change the alarm: %v %s", err, res.Body)
	}
	refused()
	wantRaised(t, live, rejections.ID, d.gatewayID,
		"More than 5 messages or samples of Gateway press-1 are rejected per minute")

	own.find(t, isReading)
	if _, err := gateway.Publish(t.Context(),
		&paho.Publish{Topic: d.topic(), QoS: 1, Payload: []byte(`{"value": 1}`)}); err != nil {
		t.Fatal(err)
	}
	plant.find(t, func(frame string) bool {
		if strings.Contains(frame, `_id":20000000`) {
			t.Errorf("a topic of the plant has a system reading: %s", frame)
		}
		return isReading(frame)
	})
	c := &plainClient{t: t, addr: p.api}
	c.connect(p.token())
	c.send(client.WsSubscribe{
		Type:     client.WsSubscribeTypeSubscribe,
		Topics:   []string{"sensors?type=rate"},
		Snapshot: new(true),
	})
	if got := await[client.WsSnapshot](c); len(got.Items) != 0 {
		t.Errorf("the snapshot of a type has system readings: %+v", got.Items)
	}

	if err := gateway.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	offline := alarmOf("gateway_offline")
	wantRaised(t, live, offline.ID, d.gatewayID, "Gateway press-1 is offline")
	if a := alarmOf("gateway_offline"); a.State != "active_unacknowledged" {
		t.Errorf("the alarm is %s, want active_unacknowledged", a.State)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
}

func isReading(frame string) bool { return strings.Contains(frame, `"type":"sensor_data"`) }

// systemGateway waits until the gateway oei-ms exists, and returns its id.
func (p *process) systemGateway(api *client.ClientWithResponses) (id int64) {
	p.t.Helper()
	p.eventually(10*time.Second, "the system gateway exists", func() bool {
		list, err := api.ListGatewaysWithResponse(p.t.Context(),
			&client.ListGatewaysParams{IsSystem: new(true)})
		if err != nil || list.JSON200 == nil {
			p.t.Fatalf("gateways: %v %s", err, list.Body)
		}
		if len(*list.JSON200) == 1 {
			id = (*list.JSON200)[0].ID
		}
		return id != 0
	})
	return id
}

// wantRaised waits for the event that raises the alarm.
func wantRaised(t *testing.T, live *socket, id, gateway int64, message string) {
	t.Helper()
	live.find(t, func(frame string) bool {
		var m struct {
			Event struct {
				AlarmID   int64  `json:"alarm_id"`
				GatewayID int64  `json:"gateway_id"`
				Kind      string `json:"kind"`
				Message   string `json:"message"`
			} `json:"event"`
		}
		if json.Unmarshal([]byte(frame), &m) != nil || m.Event.AlarmID != id ||
			m.Event.Kind != "raised" {
			return false
		}
		if m.Event.GatewayID != gateway || m.Event.Message != message {
			t.Errorf("raised: got %s, want gateway %d and %q", frame, gateway, message)
		}
		return true
	})
}
