package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/store"
)

// published is an event as it is sent over MQTT. ID is the same in every attempt.
type published struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	store.NoticeEvent
}

// overMQTT publishes every event of m on its alarms/{gateway}/{sensor}. After a failure all of them
// come again.
func (n *Notifier) overMQTT(ctx context.Context, m message) (detail string, err error) {
	if n.publish == nil {
		return "", permanent{errors.New("there is no MQTT broker to publish by")}
	}
	if m.Kind == store.KindTrial {
		b, err := timejson.Marshal(map[string]any{
			"id": m.Key, "type": "alarm.trial", "timestamp": m.CreatedAt,
		})
		if err == nil {
			err = n.publish(ctx, "alarms/trial/trial", b)
		}
		return "published on alarms/trial/trial; MQTT does not tell whether anybody listens", err
	}
	sent := 0
	for _, e := range m.Events {
		if e.Gateway == "" || e.Sensor == "" {
			continue // deleted since: there is no topic any more
		}
		b, err := timejson.Marshal(published{
			ID:          fmt.Sprintf("%s-%d", m.Key, e.Offset),
			Type:        "alarm." + m.Kind,
			NoticeEvent: e,
		})
		if err != nil {
			return "", permanent{err}
		}
		if err := n.publish(ctx, "alarms/"+e.Gateway+"/"+e.Sensor, b); err != nil {
			return "", fmt.Errorf("mqtt: %w", err)
		}
		sent++
	}
	return fmt.Sprintf("published %d; MQTT does not tell whether anybody listens", sent), nil
}
