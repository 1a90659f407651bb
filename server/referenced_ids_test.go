package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

// A list of something that is not there is not an empty one, and what is not there is named.
func TestUnknownIDs_AreNamed(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	sensor := s.addSensor(g.ID).ID
	gone := s.addAlarm(sensor)
	token := s.token(s.users[store.Admin])
	if res := s.send("DELETE", fmt.Sprintf("/api/alarms/%d", gone), token,
		""); res.StatusCode != 200 {
		t.Fatalf("delete: got %d: %s", res.StatusCode, res.body)
	}
	const noGateway = "gateway_id: there is no gateway 99"
	const noChannel = "channel_id: there is no channel 99"
	for path, want := range map[string]string{
		"/api/sensors?gateway_id=99":                            noGateway,
		"/api/alarms?gateway_id=99":                             noGateway,
		"/api/alarms?sensor_id=99":                              "sensor_id: there is no sensor 99",
		"/api/data/latest?gateway_id=99":                        noGateway,
		"/api/data/latest?sensor_id=99":                         "sensor_id: there is no sensor 99",
		"/api/data/rejections?gateway_id=99":                    noGateway,
		"/api/alarms/events?sensor_id=99":                       "sensor_id: there is no sensor 99",
		"/api/alarms/events?gateway_id=99":                      noGateway,
		"/api/notifications/deliveries?alarm_id=99":             "alarm_id: there is no alarm 99",
		"/api/notifications/deliveries?channel_id=99&kind=test": noChannel,
		"/api/notifications/deliveries?route_id=99":             "route_id: there is no route 99",
		"/api/alarms/events?kind=raised_up":                     "kind: ",
		"/api/alarms/1/events?kind=Raised":                      "kind: ",
	} {
		if res := s.send("GET", path, token, ""); res.StatusCode != 400 ||
			!strings.HasPrefix(res.problem().Detail, want) {
			t.Errorf("%s: got %d %s, want %s", path, res.StatusCode, res.body, want)
		}
	}
	for _, path := range []string{
		fmt.Sprintf("/api/sensors?gateway_id=%d&type=pressure", g.ID),
		fmt.Sprintf("/api/alarms?gateway_id=%d", g.ID),
		fmt.Sprintf("/api/alarms?sensor_id=%d", sensor),
		fmt.Sprintf("/api/data/latest?gateway_id=%d", g.ID),
		fmt.Sprintf("/api/data/rejections?gateway_id=%d", g.ID),
		fmt.Sprintf("/api/alarms/events?sensor_id=%d&kind=commented", sensor),
		"/api/alarms/events?sensor_id=99&after=5", fmt.Sprintf("/api/alarms/%d/events", gone),
	} {
		if res := s.send("GET", path, token, ""); res.StatusCode != 200 {
			t.Errorf("%s: got %d: %s", path, res.StatusCode, res.body)
		}
	}
	for path, want := range map[string]string{
		"GET /api/sensors/99":              "There is no sensor 99.",
		"GET /api/gateways/99":             "There is no gateway 99.",
		"GET /api/alarms/99":               "There is no alarm 99.",
		"GET /api/alarms/99/events":        "There is no alarm 99.",
		"GET /api/alarms/99/explain":       "There is no alarm 99.",
		"GET /api/users/99":                "There is no user 99.",
		"GET /api/gateways/99/credentials": "There is no gateway 99.",
		"DELETE /api/gateways/1/credentials/99": "There is no credential 99 of " +
			"gateway 1.",
		"GET /api/notifications/channels/99":               "There is no channel 99.",
		"GET /api/notifications/routes/99":                 "There is no route 99.",
		"GET /api/notifications/silences/99":               "There is no silence 99.",
		"GET /api/notifications/deliveries/99":             "There is no delivery 99.",
		"POST /api/alarms/99/reset {\"state_version\": 1}": "There is no alarm 99.",
		"PUT /api/sensors/99 {\"name\": \"Thermometer\"}":  "There is no sensor 99.",
	} {
		method, target, _ := strings.Cut(path, " ")
		target, body, _ := strings.Cut(target, " ")
		if res := s.send(method, target, token, body); res.StatusCode != 404 ||
			res.problem().Detail != want {
			t.Errorf("%s: got %d %s, want %s", path, res.StatusCode, res.body, want)
		}
	}
}
