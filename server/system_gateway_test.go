package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// addOwn makes the server's own gateway with a sensor of type count, a reading and an alarm of it.
func (s *system) addOwn(end time.Time) (gateway, sensor int64) {
	s.t.Helper()
	c, err := s.store.SystemConditions(s.t.Context(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	rule := alarm.Rule{
		Name:     "own",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 100}},
	}
	v := store.Sensor{Key: "refused", Name: "Refused", Type: "count", Unit: "1"}
	id, err := s.store.AddSystemSensor(s.t.Context(), v, &rule, end)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addReadings(id, 3, end)
	return c.Own, id
}

func TestLists_LeaveOutSystemSensors(t *testing.T) {
	s := start(t)
	end := time.Now().UTC().Truncate(time.Second)
	ownGateway, ownSensor := s.addOwn(end)
	plant := s.addGateway()
	count, err := s.store.CreateSensor(t.Context(), store.Sensor{
		GatewayID: plant.ID, Key: "count", Name: "Count", Type: "count", IsActive: true, Tags: "{}",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.addReadings(count.ID, 1, end)
	tests := []struct {
		path string
		want []int64 // ids of gateways, of sensors
	}{
		{"/api/gateways?", []int64{plant.ID}},
		{"/api/gateways?is_system=false", []int64{plant.ID}},
		{"/api/gateways?is_system=true", []int64{ownGateway}},
		{"/api/gateways?key=oei-ms", nil},
		{"/api/gateways?key=oei-ms&is_system=true", []int64{ownGateway}},
		{"/api/sensors?", []int64{count.ID}},
		{"/api/sensors?is_system=false", []int64{count.ID}},
		{"/api/sensors?is_system=true", []int64{ownSensor}},
		{"/api/sensors?type=count", []int64{count.ID}},
		{"/api/sensors?key=refused", nil},
		{fmt.Sprintf("/api/sensors?gateway_id=%d", ownGateway), []int64{ownSensor}},
		{fmt.Sprintf("/api/sensors?gateway_id=%d&is_system=false", ownGateway), nil},
		{fmt.Sprintf("/api/sensors?gateway_id=%d&is_system=true", plant.ID), nil},
		{"/api/data/latest?", []int64{count.ID}},
		{"/api/data/latest?type=count", []int64{count.ID}},
		{"/api/data/latest?is_system=true", []int64{ownSensor}},
		{fmt.Sprintf("/api/data/latest?gateway_id=%d", ownGateway), []int64{ownSensor}},
		{
			fmt.Sprintf("/api/data/latest?sensor_id=%d&sensor_id=%d", count.ID, ownSensor),
			[]int64{count.ID, ownSensor},
		},
		{fmt.Sprintf("/api/data/latest?sensor_id=%d&is_system=false", ownSensor), nil},
	}
	token := s.token(s.users[store.Viewer])
	for _, tt := range tests {
		res := s.send("GET", tt.path, token, "")
		var rows []struct {
			ID       int64 `json:"id"`
			SensorID int64 `json:"sensor_id"`
		}
		s.decoded(res, &rows)
		var got []int64
		for _, r := range rows {
			got = append(got, r.ID+r.SensorID)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.path, got, tt.want)
		}
		if strings.HasPrefix(tt.path, "/api/data/") {
			continue
		}
		counted := s.send("GET", tt.path+"&count=true", token, "").Header.Get("X-Total-Count")
		if counted != fmt.Sprint(len(tt.want)) {
			t.Errorf("%s: X-Total-Count: got %s, want %d", tt.path, counted, len(tt.want))
		}
	}
	from, to := end.Add(-time.Hour).Format(time.RFC3339), end.Add(time.Hour).Format(time.RFC3339)
	for _, path := range []string{
		"/api/gateways/%[2]d", "/api/sensors/%[1]d", "/api/data?sensor_id=%[1]d",
		"/api/data/export?sensor_id=%[1]d",
		"/api/data/history?sensor_id=%[1]d&start=%[3]s&end=%[4]s",
		"/api/data/statistics?sensor_id=%[1]d&start=%[3]s&end=%[4]s", "/api/alarms?sensor_id=%[1]d",
		"/api/alarms?%[5]s",
	} {
		path = fmt.Sprintf(path, ownSensor, ownGateway, from, to, "")
		res := s.send("GET", path, token, "")
		if res.StatusCode != 200 || !strings.Contains(string(res.body), "20000000") {
			t.Errorf("%s: got %d and %.100s, want what was named", path, res.StatusCode, res.body)
		}
	}
}

func TestSystemGateway_RefusesChanges(t *testing.T) {
	s := start(t)
	gateway, sensor := s.addOwn(time.Now().UTC().Truncate(time.Second))
	token := s.token(s.users[store.Engineer])
	for _, tt := range []struct {
		method, path, body string
		status             int
		detail             string
	}{
		{
			"PUT", fmt.Sprintf("/api/gateways/%d", gateway), `{"key":"other"}`, 409,
			"This is the server's own gateway.",
		},
		{
			"DELETE", fmt.Sprintf("/api/gateways/%d?cascade=true", gateway), "", 409,
			"This is the server's own gateway.",
		},
		{
			"POST", fmt.Sprintf("/api/gateways/%d/credentials", gateway), "", 409,
			"This is the server's own gateway.",
		},
		{
			"PUT", fmt.Sprintf("/api/sensors/%d", sensor), `{"is_active":false}`, 409,
			"This is a sensor of the server's own gateway.",
		},
		{
			"DELETE", fmt.Sprintf("/api/sensors/%d", sensor), "", 409,
			"This is a sensor of the server's own gateway.",
		},
		{
			"POST", "/api/sensors",
			fmt.Sprintf(`{"gateway_id":%d,"key":"k","name":"n","type":"t"}`, gateway), 400,
			"gateway_id: is the gateway of the server itself; use another",
		},
	} {
		res := s.send(tt.method, tt.path, token, tt.body)
		if p := res.problem(); res.StatusCode != tt.status ||
			!strings.HasPrefix(p.Detail, tt.detail) {
			t.Errorf("%s %s: got %d, %q, want %d, %q", tt.method, tt.path, res.StatusCode, p.Detail,
				tt.status, tt.detail)
		}
	}
}
