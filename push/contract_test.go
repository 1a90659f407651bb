package push

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// event is the JSON of an AlarmEvent of the contract.
const event = `{"epoch":"e","offset":3,"at":"2026-01-02T03:04:05.678Z",` +
	`"recorded_at":"2026-01-02T03:04:05.7Z","alarm_id":7,"sensor_id":12,` +
	`"gateway_id":3,"occurrence":5,"state_version":9,"rule_version":1,"kind":"raised",` +
	`"before":"normal","after":"active_unacknowledged","level":"high",` +
	`"severity":"major","value":81.5,"message":"Bearing hot","user":"","comment":"","quiet":false}`

// TestFrames_MatchTheContract validates every kind of frame, with and without optional members,
// against openapi.yaml.
func TestFrames_MatchTheContract(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	offset, topics := int64(3), []string{
		"sensors/12", "sensors?type=temperature", "gateways/3", "gateways/status", "alarms",
		"alarms/critical",
	}
	readings := []Reading{reading(12, 3, 21.5), reading(12, 3, 22)}
	readings[1].SensorType = "temperature"
	var us []*update
	for _, r := range readings {
		us = append(us, &update{json: appendReading(nil, r)})
	}
	frames := [][]byte{
		encode(authenticatedFrame{Type: "authenticated", UserID: 1, ExpiresAt: formatTime(t0)}),
		encode(authenticatedFrame{
			Type:      "authenticated",
			ID:        "a",
			UserID:    1,
			ExpiresAt: formatTime(t0),
		}),
		encode(authenticatedFrame{Type: "authenticated", APIKeyID: 1}),
		encode(topicsFrame{
			Type:   "subscribed",
			ID:     "b",
			Topics: topics,
			Epoch:  "e",
			Offset: &offset,
		}),
		encode(topicsFrame{Type: "subscribed", Topics: topics}),
		encode(topicsFrame{Type: "unsubscribed", ID: "c", Topics: topics}),
		appendReading(nil, readings[0]),
		appendReadingBatch(nil, us),
		appendStatus(nil, Status{GatewayID: 3, Status: "offline", At: t0}),
		appendAlarm(nil, "e", AlarmEvent{Offset: 3, Severity: "major", JSON: []byte(event)}),
		appendSnapshot(nil, topics, readings, true),
		appendSnapshot(nil, topics, nil, false),
		encode(resyncFrame{Type: "resync", Scope: "readings", Reason: "Redis was away"}),
		encode(laggedFrame{Type: "lagged", Dropped: 7}),
		encode(pingFrame{Type: "ping", Time: formatTime(t0)}),
		encode(errorFrame{
			Type:   "error",
			ID:     "d",
			Code:   codeUnknownTopic,
			Detail: "the topic does not exist",
			Topics: []string{"x"},
		}),
	}
	for _, code := range []string{
		codeBadMessage, codeNotAuthenticated, codeTooManyTopics, codeRateLimited, codeForbidden,
		codeUnavailable, codeTooLarge,
	} {
		frames = append(frames, encode(errorFrame{Type: "error", Code: code, Detail: "why"}))
	}
	for _, alarms := range [][]ActiveAlarm{nil, {{Severity: "major", JSON: []byte(event)}}} {
		for _, f := range alarmSnapshot(topics, allSeverities, "e", offset, alarms) {
			frames = append(frames, encode(f))
		}
	}
	messages, kinds := doc.Components.Schemas["WsServerMessage"].Value, map[string]bool{}
	for _, frame := range frames {
		var v map[string]any
		if err := json.Unmarshal(frame, &v); err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		kinds[fmt.Sprint(v["type"])] = true
		if err := messages.VisitJSON(v); err != nil {
			t.Errorf("%s: %v", frame, err)
		}
	}
	for kind := range messages.Discriminator.Mapping {
		if !kinds[kind] {
			t.Errorf("no frame of type %s was looked up", kind)
		}
	}
	for name, test := range requests {
		var v any
		if json.Unmarshal([]byte(test.body), &v) != nil || !test.ok {
			continue
		}
		if err := doc.Components.Schemas["WsClientMessage"].Value.VisitJSON(v); err != nil &&
			name != "a topic with a NUL, which is an unknown topic" {
			t.Errorf("%s is followed, and not in the contract: %v", name, err)
		}
	}
}
