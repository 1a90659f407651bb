package eventjson_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/internal/eventjson"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/store"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", 3600))

var alarmEvent = store.AlarmEvent{
	Epoch:        "e",
	Offset:       3,
	At:           at,
	RecordedAt:   at,
	AlarmID:      7,
	SensorID:     12,
	GatewayID:    3,
	Occurrence:   5,
	StateVersion: 9,
	RuleVersion:  1,
	Kind:         "raised",
	Before:       "normal",
	After:        "active_unacknowledged",
	Level:        "high",
	Severity:     "major",
	Value:        new(81.5),
	Message:      "Bearing hot",
}

var notificationEvent = store.NotificationEvent{
	Epoch:       "e",
	Offset:      3,
	At:          at,
	AlarmID:     7,
	SensorID:    12,
	GatewayID:   3,
	Occurrence:  5,
	Version:     9,
	Alarm:       "Bearing hot",
	Sensor:      "t1",
	Gateway:     "press-1",
	SensorName:  "Bearing",
	GatewayName: "Press",
	Kind:        "raised",
	State:       "active_unacknowledged",
	Severity:    "major",
	Level:       "high",
	Value:       new(81.5),
	Unit:        "Cel",
	Message:     "Bearing at 81.5",
	Labels:      store.LabelMap{"line": "1"},
}

// TestEvents_HaveEveryMemberOfTheContract holds the JSON of events to their schemas in
// openapi.yaml.
func TestEvents_HaveEveryMemberOfTheContract(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	noValue, noLabels := alarmEvent, notificationEvent
	noValue.Value, noLabels.Value, noLabels.Labels = nil, nil, nil
	for name, test := range map[string]struct {
		schema string
		event  any
	}{
		"an alarm event":                 {"AlarmEvent", eventjson.Alarm(alarmEvent)},
		"an alarm event without a value": {"AlarmEvent", eventjson.Alarm(noValue)},
		"a notification event": {
			"NotificationEvent", eventjson.Notification(notificationEvent),
		},
		"a notification event without any": {"NotificationEvent", eventjson.Notification(noLabels)},
	} {
		schema := doc.Components.Schemas[test.schema].Value
		b, err := timejson.Marshal(test.event)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(members); err != nil {
			t.Errorf("%s: %s: %v", name, b, err)
		}
		for member := range schema.Properties {
			if _, ok := members[member]; !ok {
				t.Errorf("%s has no member %s: %s", name, member, b)
			}
		}
		if len(members) != len(schema.Properties) {
			t.Errorf("%s has %d members, want %d: %s", name, len(members), len(schema.Properties),
				b)
		}
		if members["at"] != "2026-01-02T02:04:05.678000Z" {
			t.Errorf("%s: at is %v, want UTC with microseconds", name, members["at"])
		}
	}
}
