package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/eventjson"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/store"
)

// mqttBody is the JSON of an event over MQTT. ID is the same in every attempt.
type mqttBody struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	api.NotificationEvent
}

// sendMQTT publishes every event of m on alarms/{gateway}/{sensor}. The attempt after a failure
// publishes all of them again.
func (n *Notifier) sendMQTT(ctx context.Context, m message) (detail string, err error) {
	if n.publish == nil {
		return "", permanent{errors.New("no MQTT broker is available")}
	}
	if m.Kind == store.KindTest {
		b, err := timejson.Marshal(map[string]any{
			"id": m.Key, "type": "alarm.test", "timestamp": m.CreatedAt,
		})
		if err == nil {
			err = n.publish(ctx, "alarms/test/test", b)
		}
		return "published on alarms/test/test; MQTT does not report subscribers", err
	}
	sent := 0
	for _, e := range m.Events {
		if e.Gateway == "" || e.Sensor == "" {
			continue // deleted meanwhile: the event has no topic
		}
		b, err := timejson.Marshal(mqttBody{
			ID:                fmt.Sprintf("%s-%d", m.Key, e.Offset),
			Type:              "alarm." + m.Kind,
			NotificationEvent: eventjson.Notification(e),
		})
		if err != nil {
			return "", permanent{err}
		}
		if err := n.publish(ctx, "alarms/"+e.Gateway+"/"+e.Sensor, b); err != nil {
			return "", fmt.Errorf("mqtt: %w", err)
		}
		sent++
	}
	return fmt.Sprintf("published %d; MQTT does not report subscribers", sent), nil
}
